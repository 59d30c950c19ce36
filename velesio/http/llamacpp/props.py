"""llama.cpp's `/props`: what a model is and what its settings are by default."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.http.finding import find_model, visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.loading import state_of
from velesio.http.media import MARKER
from velesio.http.operations import Operation
from velesio.http.text.generation import generation_of
from velesio.http.text.settings import generation_settings
from velesio.http.text.usage import FINGERPRINT
from velesio.http.wire import json_response
from velesio.jobs import TextParams

_OF_REQUESTS = {
    "stop",
    "logit_bias",
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "preserved_tokens",
    "dry_sequence_breakers",
}
"""Settings that have no default worth telling."""


def properties(card: ModelCard) -> dict[str, Any]:
    """Everything that a client may want to know of a model before it asks."""
    settings = generation_settings(generation_of({}), TextParams())
    params = {name: value for name, value in settings.items() if name not in _OF_REQUESTS}
    template = str(card.meta.get("chat_template", ""))
    return {
        "default_generation_settings": {"params": params | {"reasoning_format": "none"}, "n_ctx": card.context},
        "total_slots": card.slots,
        "model_alias": card.name,
        "model_ftype": str(card.meta.get("ftype", "")),
        "model_path": str(card.meta.get("file", "")),
        "modalities": {"vision": False, "video": False, "audio": False} | card.meta.get("modalities", {}),
        "media_marker": MARKER,
        "endpoint_slots": True,
        "endpoint_props": True,
        "endpoint_metrics": True,
        "ui": False,
        "ui_settings": {},
        "chat_template": template,
        "chat_template_caps": card.meta.get("chat_template_caps") or abilities(template),
        "bos_token": str(card.meta.get("bos_token", "")),
        "eos_token": str(card.meta.get("eos_token", "")),
        "build_info": FINGERPRINT,
        "is_sleeping": False,
        "cors_proxy_enabled": False,
    }


def abilities(template: str) -> dict[str, bool]:
    """What a chat template can write, judged by the names in it; only its own rendering could tell for sure."""
    return {
        "supports_object_arguments": "arguments" in template and "tojson" in template,
        "supports_parallel_tool_calls": "tool_calls" in template and "for tool_call in" in template,
        "supports_preserve_reasoning": "reasoning_content" in template,
        "supports_reasoning_effort": "reasoning_effort" in template,
        "supports_string_content": True,
        "supports_system_role": "system" in template or "message['role']" in template or "message.role" in template,
        "supports_tool_calls": "tool_calls" in template,
        "supports_tools": "tools" in template,
        "supports_typed_content": "content is string" in template or "is iterable" in template,
    }


async def props(request: web.Request) -> web.Response:
    """`GET /props`: of the model in `?model=`, else of the first, and then that there are several."""
    name = request.query.get("model", "")
    card = await find_model(request, name, "text")
    several = {} if name else of_several(visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL]))
    is_sleeping = state_of(request, card).state == "sleeping"
    return json_response(several | properties(card) | {"is_sleeping": is_sleeping})


def of_several(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """What llama.cpp's server says in its multi-model mode, by which clients know it; nothing where one model serves
    texts. That mode tells of no model unless one is named; here the first one answers those who name none, so that it
    is also the one they are told of."""
    texts = [card for card in cards if card.capability == "text"]
    if len(texts) < 2:
        return {}
    return {"role": "router", "max_instances": len(texts), "models_autoload": True}


async def set_props(request: web.Request) -> web.Response:
    """`POST /props`: llama.cpp's server has no setting that this could change, and LLMUnity reads with it."""
    card = await find_model(request, request.query.get("model", ""), "text")
    return json_response({"success": True} | properties(card))


ROUTES = [web.get("/props", props), web.post("/props", set_props)]

_MODEL = {"model": "a name or alias of `GET /models`; the first"}
API = (
    Operation(
        method="GET",
        paths=("/props",),
        summary="Tells what a model is: its context, slots, template, senses, and the settings of a job that has none.",
        notes="Where several models serve texts and none is named, `role` is `router`, `max_instances` their number, "
        "and the rest tells of the first model, which answers those who name none.",
        query=_MODEL,
    ),
    Operation(
        method="POST",
        paths=("/props",),
        summary="The same with `success`: LLMUnity reads with this. There is no setting that it could change.",
        query=_MODEL,
    ),
)
