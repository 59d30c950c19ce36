"""Anthropic's API: `/v1/messages` and the count of a request's tokens."""

from aiohttp import web

from velesio.http import sse
from velesio.http.anthropic_answers import Frames, Writer
from velesio.http.anthropic_requests import Asked, read
from velesio.http.dispatch import ask, find_model, jobs_of
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.wire import json_response, read_object
from velesio.jobs import PromptResult, Render


async def _read(request: web.Request) -> Asked:
    return read(await read_object(request, request.app[GATEWAY].server.max_body))


async def messages(request: web.Request) -> web.StreamResponse:
    """`POST /v1/messages`: a message, streamed or not."""
    asked = await _read(request)
    card = await find_model(request, asked.model, "text")
    jobs = jobs_of(request, card.name, [asked.chat], stream=asked.stream)
    async with answers_to(request, jobs) as answers:
        writer = Writer(asked, card.name, answers.ids[0])
        if asked.stream:
            await answers.begin()
            return await sse.respond(request, answers, Frames(writer))
        (result,) = await answers.texts()
    return json_response(writer.whole(result))


async def count_tokens(request: web.Request) -> web.Response:
    """`POST /v1/messages/count_tokens`: what the prompt of such a request would have."""
    asked = await _read(request)
    card = await find_model(request, asked.model, "text")
    result = await ask(request, card.name, Render(asked.chat), PromptResult)
    return json_response({"input_tokens": result.tokens})


ROUTES = [web.post("/v1/messages", messages), web.post("/v1/messages/count_tokens", count_tokens)]
