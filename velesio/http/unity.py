"""LLMUnity: streams that its readers can read, and the names that it has for chat templates.

Its reader takes each HTTP chunk for one event, whole and small; a client that got anything else sends its request again
and shows the text twice. So its streams are compact: below `LIMIT` bytes an event, without the settings and the prompt
at the end, and, where something between may join what is sent together, with a pause between them.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from velesio.errors import VelesioError
from velesio.http import lora, slots, sse
from velesio.http.clients import client_of, may_merge, wants_one_embedding
from velesio.http.dispatch import Numbered, ask, find_model
from velesio.http.gateway import BODY, GATEWAY
from velesio.http.wire import convert, encode, json_response, parse_object, read_bytes, read_object, within
from velesio.jobs import Delta, Event, SlotsResult

LIMIT = 4000
"""Bytes of an event at most: cpp-httplib hands on 4,096 at a time, of which 6 are the mark of the chunk."""

PAUSE = 0.04
"""Seconds between two events where they may merge: 25 a second still read as a flow."""

_HEAD = b"data: "
_SPARE = ("generation_settings", "prompt")
"""What no game reads, and what makes the last event too large."""
_RATHER_NOT = ("completion_probabilities", "timings", "tokens", "stopping_word")
"""What an event does without if it is still too large, in this order."""
_MERGED_TEXT = 1000
"""Characters of text that are joined to one event at most."""


def framing_for(request: web.Request, framing: sse.Framing[Event]) -> sse.Framing[Event]:
    """`framing`, which writes llama.cpp's events, as the client of `request` can read it."""
    return Compact(framing) if client_of(request.headers).is_unity else framing


def answers_for(request: web.Request, answers: AsyncIterable[Sequence[Numbered]]) -> AsyncIterable[Sequence[Numbered]]:
    """`answers`, of which texts that come together are one, where the client of `request` gets them with pauses."""
    return _joined(answers) if pause_for(request) else answers


def pause_for(request: web.Request) -> float:
    """Seconds between two events for the client of `request`; 0: none are needed."""
    headers = request.headers
    apart = client_of(headers).is_unity and may_merge(headers, old=request.version < HttpVersion11)
    return PAUSE if apart else 0.0


async def _joined(answers: AsyncIterable[Sequence[Numbered]]) -> AsyncIterator[Sequence[Numbered]]:
    async for batch in answers:
        yield merged(batch)


def merged(batch: Sequence[Numbered]) -> list[Numbered]:
    """A batch in which neighbouring texts of one job are joined, as far as they make one small event."""
    joined: list[Numbered] = []
    for index, event in batch:
        if isinstance(event, Delta) and joined and joined[-1][0] == index:
            last = joined[-1][1]
            if isinstance(last, Delta) and len(last.text) + len(event.text) <= _MERGED_TEXT:
                joined[-1] = index, _sum(last, event)
                continue
        joined.append((index, event))
    return joined


def _sum(one: Delta, two: Delta) -> Delta:
    return Delta(one.text + two.text, one.tokens + two.tokens, two.predicted, one.probs + two.probs)


class Compact:
    """A stream of llama.cpp's events, each below `LIMIT` bytes."""

    one_by_one = True

    def __init__(self, framing: sse.Framing[Event]) -> None:
        self._framing = framing

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The events for an event: as many as its text needs."""
        return [small for frame in self._framing.frames(index, event) for small in fitted(frame)]

    def ping(self) -> bytes:
        """An event without content; comments would break the reader."""
        return self._framing.ping()

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as an event, its message no longer than fits."""
        return [small for frame in self._framing.failure(error) for small in fitted(frame)]

    def end(self) -> Sequence[bytes]:
        """Nothing that is no event."""
        return self._framing.end()


def fitted(frame: bytes) -> list[bytes]:
    """An event of `/completion` as one or several below `LIMIT` bytes, without settings and prompt."""
    if len(frame) < LIMIT and b'"generation_settings":' not in frame:
        return [frame]
    said = msgspec.json.decode(frame.removeprefix(_HEAD))
    for name in _SPARE:
        said.pop(name, None)
    return list(_split(said))


def _split(said: dict[str, Any]) -> Iterator[bytes]:
    frame = sse.event(encode(said))
    if len(frame) < LIMIT:
        yield frame
    elif said.get("stop") is False and len(said["content"]) > 1:
        first, second = _halves(said)
        yield from _split(first)
        yield from _split(second)
    elif spare := next((name for name in _RATHER_NOT if said.get(name)), None):
        yield from _split({name: value for name, value in said.items() if name != spare})
    elif isinstance(error := said.get("error"), dict) and len(message := error["message"]) > 1:
        yield from _split({"error": error | {"message": message[: len(message) // 2]}})
    else:
        yield frame


def _halves(said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One event as two; the tokens come with the second, as those of text that was held back do."""
    text = said["content"]
    middle = len(text) // 2
    first = {name: value for name, value in said.items() if name not in {"timings", "completion_probabilities"}}
    return first | {"content": text[:middle], "tokens": []}, said | {"content": text[middle:]}


_Handler = Callable[[web.Request], Awaitable[web.Response]]


def one_embedding(handle: _Handler) -> _Handler:
    """A handler of `/embeddings` that answers LLMUnity 2 with one vector in an object: it reads nothing else."""

    async def handle_by_client(request: web.Request) -> web.Response:
        response = await handle(request)
        if not wants_one_embedding(request.headers, parse_object(request[BODY])):
            return response
        (first,) = msgspec.json.decode(response.body)  # type: ignore[arg-type]  # the handler writes JSON
        return json_response({"embedding": first["embedding"][0]})

    return handle_by_client


DEFAULT = "chatml"
_SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|im_start|>", "<tool_call>", "enable_thinking"), "qwen3"),
    (("<|im_start|>",), "chatml"),
    (("<start_of_turn>",), "gemma"),
    (("<|start_header_id|>",), "llama3 chat"),
    (("<｜User｜>", "<｜Assistant｜>", "<think>"), "deepseek-r1"),  # noqa: RUF001 - DeepSeek's own letters
    (("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>"), "deepseek-v3"),  # noqa: RUF001 - DeepSeek's own letters
    (("<｜User｜>", "<｜Assistant｜>"), "deepseek-v2"),  # noqa: RUF001 - DeepSeek's own letters
    (("<|im_sep|>",), "phi-4"),
    (("<|user|>", "<|assistant|>", "<|tool|>"), "phi-4-mini"),
    (("<|user|>", "<|assistant|>", "<|end|>", "<|system|>"), "phi-3.5"),
    (("<|user|>", "<|assistant|>", "<|end|>"), "phi-3"),
    (("<|user|>", "<|assistant|>"), "zephyr"),
    (("[INST]", "<<SYS>>"), "llama chat"),
    (("[INST]",), "mistral instruct"),
    (("### Instruction",), "alpaca"),
    (("USER:", "ASSISTANT:"), "vicuna"),
    (("Instruct:", "Output:"), "phi"),
    (("User: ", "Assistant: ", "<|eot_id|>"), "bitnet"),
)
"""What a chat template holds → LLMUnity's name for it; the first that fits."""


def template_name(template: str) -> str:
    """What LLMUnity calls a model's chat template; `chatml`, its own default, if nothing fits: it fails at any name
    that it does not know."""
    return next((name for signs, name in _SIGNS if all(sign in template for sign in signs)), DEFAULT)


async def template(request: web.Request) -> web.Response:
    """`GET` or `POST /template`: LLMUnity's name for the chat template of the model, by default the first one."""
    body = await read_bytes(request, request.app[GATEWAY].server.max_body)
    named = parse_object(body).get("model") if body.strip() else request.query.get("model")
    card = await find_model(request, named if isinstance(named, str) else "", "text")
    return json_response({"template": template_name(str(card.meta.get("chat_template", "")))})


class SlotBody(msgspec.Struct):
    """The fields of `POST /slots`."""

    id_slot: int = 0
    action: str = ""
    filepath: str = ""
    model: str = ""


async def act_on_slot(request: web.Request) -> web.Response:
    """`POST /slots`: what llama.cpp's server does at `/slots/{id}`, in the words of LLMUnity 1 and 2."""
    body = convert(await read_object(request, request.app[GATEWAY].server.max_body), SlotBody)
    within("id_slot", body.id_slot, 0)
    # Files of slots lie in a folder of the model's, wherever the game keeps its own.
    name = re.split(r"[/\\]", body.filepath)[-1]
    job = slots.job_of(body.action, body.id_slot, name)
    card = await find_model(request, body.model, "text")
    return json_response(slots.written(job, await ask(request, card.name, job, SlotsResult)))


ROUTES = [
    web.get("/template", template),
    web.post("/template", template),
    web.post("/slots", act_on_slot),
    web.get("/lora-adapters-list", lora.listing),
    web.post("/lora-adapters-list", lora.listing),
]
