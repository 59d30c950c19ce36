"""A form: how one route reads its body and writes its answer, so that the answer can also be asked for later."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.http.dispatch import checked, jobs_of
from velesio.http.finding import find_model
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.wire import json_response, read_object
from velesio.jobs import Aside, Capability, Result, TextResult


class Form(msgspec.Struct, frozen=True):
    """One route."""

    read: Callable[[Mapping[str, Any]], Any]
    """A body → what is asked: `model` and `params`, a job's each. Raises BadRequest."""
    write: Callable[[Any, str, str, Sequence[Any]], Any]
    """What was asked, model, id of the (first) job, results → the JSON of the answer without streaming."""
    result: type[Result] = TextResult
    """What each of its jobs gives."""
    capability: Capability = "text"
    """Of the models that answer."""
    settle: Callable[[web.Request, Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    """A body → one that means the same without the client that sent it, whose options it has; None: it does already."""


class AsideAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an aside, read: at most one job."""

    model: str
    params: list[Aside]
    body: Any = None
    """What writing the answer needs to know of the body."""


def aside(form: Form) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of a route that one aside answers, or none."""

    async def handle(request: web.Request) -> web.Response:
        asked = form.read(await read_object(request, request.app[GATEWAY].server.max_body))
        card = await find_model(request, asked.model, "text")
        if not asked.params:
            return json_response(form.write(asked, card.name, "", ()))
        async with answers_to(request, jobs_of(request, card.name, asked.params, stream=False)) as answers:
            result = await answers.only()
        return json_response(form.write(asked, card.name, answers.ids[0], [checked(result, form.result)]))

    return handle
