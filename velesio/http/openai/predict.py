"""Vertex AI's `/predict`: several chats in one request."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, ContextExceeded
from velesio.http.dispatch import jobs_of
from velesio.http.fields import of
from velesio.http.finding import find_model
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.openai import chat
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import MOST_ANSWERS
from velesio.http.wire import bad_field, convert, json_response, read_object

_FORMAT = "@requestFormat"


class Body(msgspec.Struct):
    """Each instance is the body of a chat, without streaming."""

    instances: list[dict[str, Any]] = []


def read(raw: Mapping[str, Any]) -> list[chat.Asked]:
    """The chats in a body, all for one model.

    Raises:
        BadRequest: naming the field.
    """
    instances = convert(raw, Body).instances
    if not instances:
        raise bad_field("instances", f'expected a non-empty list of objects with "{_FORMAT}": "chatCompletions"')
    read = [_instance(instance, f"instances[{index}]") for index, instance in enumerate(instances)]
    if len({asked.model for asked in read}) > 1:
        raise bad_field("instances", "all of them must name the same model")
    if sum(len(asked.params) for asked in read) > MOST_ANSWERS:
        raise bad_field("instances", f"ask for more than {MOST_ANSWERS} answers")
    return read


def _instance(instance: dict[str, Any], path: str) -> chat.Asked:
    if instance.get(_FORMAT) != "chatCompletions":
        raise bad_field(f"{path}.{_FORMAT}", "expected 'chatCompletions'")
    if instance.get("stream"):
        raise bad_field(f"{path}.stream", "predictions are not streamed")
    body = {name: value for name, value in instance.items() if name != _FORMAT and value is not None}
    try:
        return chat.read(body)
    except BadRequest as error:
        raise type(error)(f"{path}: {error.message}", param=f"{path}.{error.param}") from None


async def predict(request: web.Request) -> web.Response:
    """`POST /predict`."""
    chats = read(await read_object(request, request.app[GATEWAY].server.max_body))
    card = await find_model(request, chats[0].model, "text")
    params = [params for asked in chats for params in asked.params]
    async with answers_to(request, jobs_of(request, card.name, params, stream=False)) as answers:
        results = await answers.texts()
    predictions, start = [], 0
    for asked in chats:
        end = start + len(asked.params)
        predictions.append(chat.write(asked, card.name, answers.ids[start], results[start:end]))
        start = end
    return json_response({"predictions": predictions})


ROUTES = [web.post("/predict", predict)]

API = (
    Operation(
        method="POST",
        paths=("/predict",),
        summary="Answers several chats at once, as Vertex AI asks.",
        fields=of(
            Body,
            instances=f'bodies of `/v1/chat/completions` with `"{_FORMAT}": "chatCompletions"`, all for one model; '
            "`predictions` are in their order",
        ),
        example={"instances": [{_FORMAT: "chatCompletions", "messages": [{"role": "user", "content": "Hi"}]}]},
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
)
