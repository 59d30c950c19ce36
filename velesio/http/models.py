"""The list of models, in one shape that llama.cpp's and OpenAI's clients both read."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import ModelNotFound
from velesio.http.anthropic import models as anthropic_models
from velesio.http.earlier import facts as earlier
from velesio.http.finding import unknown_model, visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response
from velesio.states import ModelState, overall

FACTS = (
    "vocab_type", "n_vocab", "n_ctx", "n_ctx_train", "n_embd", "n_params", "size", "ftype",
    "generates", "pooling", "embeds", "reranks", "fills_gaps",
)  # fmt: skip
"""What a list tells of a model's file, and of what it can do."""


States = Callable[[str], ModelState]


def listing(cards: list[ModelCard], state_of: States = lambda _: ModelState()) -> dict[str, Any]:
    """`models` in the shape of Ollama, which llama.cpp's server uses here as well, and `data` in that of OpenAI."""
    return {
        "models": [_described(card) for card in cards],
        "object": "list",
        "data": [entry(card, state_of(card.name)) for card in cards],
    }


def entry(card: ModelCard, state: ModelState) -> dict[str, Any]:
    """One model in OpenAI's shape, with the fields of llama.cpp's multi-model mode."""
    senses = card.meta.get("modalities", {})
    inputs = ["text", *(word for name, word in (("vision", "image"), ("audio", "audio")) if senses.get(name))]
    return {
        "id": card.name,
        "aliases": list(card.aliases),
        "tags": [],
        "object": "model",
        "created": card.created,
        "owned_by": "velesio",
        "meta": {name: card.meta[name] for name in FACTS if name in card.meta},
        "status": status(state),
        "architecture": {
            "input_modalities": inputs,
            "output_modalities": ["text" if card.capability == "text" else "image"],
        },
        "source": "models_dir",
        "can_remove": False,
    }


def status(state: ModelState) -> dict[str, Any]:
    """A model's state as llama.cpp's server describes it, where one that could not be loaded is `unloaded`."""
    failed = state.state == "failed"
    described: dict[str, Any] = {"value": "unloaded" if failed else state.state, "args": [], "preset": ""}
    if failed:
        described |= {"failed": True, "exit_code": 1, "reason": state.reason}
    elif state.state == "loading":
        stage = "text_model"
        described["progress"] = {"stages": [stage], "current": stage, "value": round(state.progress, 3)}
    return described


def _described(card: ModelCard) -> dict[str, Any]:
    family = str(card.meta.get("architecture", ""))
    return {
        "name": card.name,
        "model": card.name,
        "modified_at": "",
        "size": "",
        "digest": "",
        "type": "model",
        "description": "",
        "tags": [""],
        "capabilities": ["completion" if card.capability == "text" else "image"],
        "parameters": "",
        "details": {
            "parent_model": "",
            "format": str(card.meta.get("format", "gguf" if card.backend == "llama" else "")),
            "family": family,
            "families": [family],
            "parameter_size": str(card.meta.get("parameter_size", "")),
            "quantization_level": str(card.meta.get("ftype", "")),
        },
    }


async def models(request: web.Request) -> web.Response:
    """`GET /models`, `GET /v1/models`: those that are served and that the key may use. `?reload=1` asks the broker
    first, whose copy here may be a second old."""
    registry = request.app[GATEWAY].registry
    if request.query.get("reload"):
        await registry.refresh()
    cards = visible_cards(registry, request[CREDENTIAL])
    if anthropic_models.speaks(request.headers):
        return json_response(anthropic_models.listing(cards))
    more = earlier.models_of(cards, registry.workers()) if request.path == "/models" else {}
    return json_response(listing(cards, lambda name: overall(registry.states(name))) | more)


async def model(request: web.Request) -> web.Response:
    """`GET /v1/models/{id}`: one of them, by its name or an alias."""
    name = request.match_info["id"]
    registry = request.app[GATEWAY].registry
    cards = visible_cards(registry, request[CREDENTIAL])
    for card in cards:
        if name == card.name or name in card.aliases:
            if anthropic_models.speaks(request.headers):
                return json_response(anthropic_models.entry(card))
            return json_response(entry(card, overall(registry.states(card.name))))
    raise unknown_model(name, cards)


ROUTES = [web.get("/models", models), web.get("/v1/models", models), web.get("/v1/models/{id:.+}", model)]

_CARD = ModelCard(name="smollm2-135m-instruct", backend="llama", capability="text", aliases=("smollm2",))
API = (
    Operation(
        method="GET",
        paths=("/models", "/v1/models"),
        summary="Lists the models that are served and that the key may use, in the shapes of OpenAI and of Ollama.",
        notes="`/models` has the fields of the earlier Velesio server as well. An entry's `meta` tells what its file "
        "holds and what the model can do, its `status` whether it is `loaded`, `loading`, `unloaded` or `sleeping` "
        "(unloaded because it was idle); one that could not be loaded is `unloaded` and `failed`, with the `reason`. A "
        "request with `anthropic-version` gets Anthropic's shape.",
        query={"reload": "1: ask the broker first; lists are otherwise up to a second old"},
        answer=lambda: listing([_CARD]),
        errors=OF_EVERY_ROUTE,
    ),
)
ONE_API = (
    Operation(
        method="GET",
        paths=("/v1/models/{id}",),
        summary="One of them, by its name or an alias.",
        answer=lambda: entry(_CARD, ModelState(state="loaded", progress=1.0)),
        errors=(*OF_EVERY_ROUTE, ModelNotFound),
    ),
)
