"""The list of models, in one shape that llama.cpp's and OpenAI's clients both read."""

from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.http import earlier
from velesio.http.dispatch import unknown_model, visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.wire import json_response

_FACTS = (
    "vocab_type", "n_vocab", "n_ctx", "n_ctx_train", "n_embd", "n_params", "size", "ftype",
    "generates", "pooling", "embeds", "reranks", "fills_gaps",
)  # fmt: skip
"""What a list tells of a model's file, and of what it can do."""


def listing(cards: list[ModelCard]) -> dict[str, Any]:
    """`models` in the shape of Ollama, which llama.cpp's server uses here as well, and `data` in that of OpenAI."""
    return {
        "models": [_described(card) for card in cards],
        "object": "list",
        "data": [entry(card) for card in cards],
    }


def entry(card: ModelCard) -> dict[str, Any]:
    """One model in OpenAI's shape."""
    return {
        "id": card.name,
        "aliases": list(card.aliases),
        "tags": [],
        "object": "model",
        "created": card.created,
        "owned_by": "velesio",
        "meta": {name: card.meta[name] for name in _FACTS if name in card.meta},
    }


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
    """`GET /models`, `GET /v1/models`: those that are served and that the key may use."""
    registry = request.app[GATEWAY].registry
    cards = visible_cards(registry, request[CREDENTIAL])
    more = earlier.models_of(cards, registry.workers()) if request.path == "/models" else {}
    return json_response(listing(cards) | more)


async def model(request: web.Request) -> web.Response:
    """`GET /v1/models/{id}`: one of them, by its name or an alias."""
    name = request.match_info["id"]
    cards = visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])
    for card in cards:
        if name == card.name or name in card.aliases:
            return json_response(entry(card))
    raise unknown_model(name, cards)


ROUTES = [web.get("/models", models), web.get("/v1/models", models), web.get("/v1/models/{id:.+}", model)]
