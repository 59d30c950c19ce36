"""LLMUnity's own routes: its names for chat templates, slots in its words, and one embedding for version 2."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ModelNotFound, NoWorker, Unsupported
from velesio.http.clients import wants_one_embedding
from velesio.http.fields import given, of
from velesio.http.finding import find_model
from velesio.http.gateway import BODY, GATEWAY
from velesio.http.llamacpp import lora, slots
from velesio.http.operations import OF_EVERY_JOB, OF_EVERY_ROUTE, Operation
from velesio.http.wire import convert, json_response, parse_object, read_bytes, read_object, within
from velesio.jobs import SlotsResult

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
    return await slots.carried_out(request, body.model, slots.job_of(body.action, body.id_slot, name))


ROUTES = [
    web.get("/template", template),
    web.post("/template", template),
    web.post("/slots", act_on_slot),
    web.get("/lora-adapters-list", lora.listing),
    web.post("/lora-adapters-list", lora.listing),
]

_MODEL = "a model's name or an alias; the first text model if there is none"
_ERRORS = (*OF_EVERY_ROUTE, ModelNotFound, NoWorker)
_TEMPLATE = Operation(
    method="GET",
    paths=("/template",),
    summary="Tells LLMUnity's name for a model's chat template.",
    query={"model": _MODEL},
    answer=lambda: {"template": DEFAULT},
    errors=_ERRORS,
)
_ADAPTERS = Operation(
    method="GET",
    paths=("/lora-adapters-list",),
    summary="Lists a model's LoRA adapters, as `GET /lora-adapters` does.",
    query={"model": _MODEL},
    answers=list[dict[str, Any]],
    errors=_ERRORS,
)

API = (
    _TEMPLATE,
    msgspec.structs.replace(_TEMPLATE, method="POST", query={}, fields={"model": given(str, _MODEL, default="")}),
    Operation(
        method="POST",
        paths=("/slots",),
        summary="Saves, restores or erases what a slot has cached, as `POST /slots/{id}` does.",
        fields=of(
            SlotBody,
            id_slot="the slot's number",
            action="save, restore or erase",
            filepath="of the game's file; only its last part counts, a name in the model's `slot_save_path`",
            model=_MODEL,
        ),
        example={"id_slot": 0, "action": "erase"},
        answer=lambda: slots.written(slots.job_of("erase", 0, ""), SlotsResult(tokens=42)),
        errors=(*OF_EVERY_JOB, Unsupported),
    ),
    _ADAPTERS,
    msgspec.structs.replace(_ADAPTERS, method="POST"),
)
