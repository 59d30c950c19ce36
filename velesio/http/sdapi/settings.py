"""A1111's options, each key's own, and what is done to models."""

from typing import Any

from aiohttp import web

from velesio.errors import ModelNotFound, NoWorker, Unavailable, Unprocessable, Unsupported
from velesio.http import loading
from velesio.http.operations import OF_EVERY_ROUTE, Group, Operation
from velesio.http.sdapi import options as sdapi_options
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.drawing import body_of, find_image_model, image_cards, keep_options, options_of
from velesio.http.sdapi.models import meant, title
from velesio.http.wire import json_response


async def get_options(request: web.Request) -> web.Response:
    """`GET /sdapi/v1/options`."""
    options = dict(DEFAULTS) | await options_of(request)
    cards = image_cards(request)
    name = meant(cards, options[sdapi_options.MODEL]) if options[sdapi_options.MODEL] else ""
    card = next((each for each in cards if name in {"", each.name}), None)
    return json_response(options | {sdapi_options.MODEL: title(card) if card else name})


async def set_options(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/options`: nothing is loaded before a request needs it."""
    changed = sdapi_options.checked(await body_of(request))
    if changed.get(sdapi_options.MODEL):
        card = await find_image_model(request, changed[sdapi_options.MODEL])
        changed[sdapi_options.MODEL] = card.name
    await keep_options(request, changed)
    return json_response(None)


async def unload(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/unload-checkpoint`: the chosen model, when its jobs have ended."""
    options = await options_of(request)
    await loading.unload(request, await find_image_model(request, options.get(sdapi_options.MODEL, "")))
    return json_response({})


async def reload(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/reload-checkpoint`: the chosen model."""
    options = await options_of(request)
    await loading.load(request, await find_image_model(request, options.get(sdapi_options.MODEL, "")))
    return json_response({})


async def refresh(request: web.Request) -> web.Response:  # noqa: ARG001
    """`POST /sdapi/v1/refresh-…`: lists are as the workers tell them, never older than a second."""
    return json_response(None)


_OPTIONS = "/sdapi/v1/options"
_REFRESHED = tuple(f"/sdapi/v1/refresh-{what}" for what in ("checkpoints", "vae", "loras", "embeddings"))

ROUTES = [
    web.get(_OPTIONS, get_options),
    web.post(_OPTIONS, set_options),
    web.post("/sdapi/v1/unload-checkpoint", unload),
    web.post("/sdapi/v1/reload-checkpoint", reload),
    *(web.post(path, refresh) for path in _REFRESHED),
]

_IDLE = Group(
    "Options that change nothing", sdapi_options.IDLE, "They are stored and told again; the note is the reason."
)
_OF_A_MODEL = (*OF_EVERY_ROUTE, ModelNotFound, NoWorker, Unavailable)

API = (
    Operation(
        method="GET",
        paths=(_OPTIONS,),
        summary="All options of the key.",
        answer=lambda: (
            {key: DEFAULTS[key] for key in ("sd_vae", "CLIP_stop_at_last_layers", "samples_format")}
            | {sdapi_options.MODEL: "dreams.safetensors"}
        ),
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
    Operation(
        method="POST",
        paths=(_OPTIONS,),
        summary="Sets options of the key, for its requests from now on, for 30 days after the last change.",
        notes=f"A value has {sdapi_options.LONGEST} bytes at most; an unknown name is refused. Choosing a model loads "
        "nothing yet.",
        fields={**sdapi_options.HONOURED, **sdapi_options.REFUSED},
        groups=(_IDLE,),
        example={"sd_model_checkpoint": "dreams.safetensors", "CLIP_stop_at_last_layers": 2},
        answer=lambda: None,
        answers=Any,
        errors=(*_OF_A_MODEL, Unprocessable, Unsupported),
    ),
    Operation(
        method="POST",
        paths=("/sdapi/v1/unload-checkpoint",),
        summary="Unloads the chosen model at every worker when its jobs have ended.",
        answer=dict,
        errors=_OF_A_MODEL,
    ),
    Operation(
        method="POST",
        paths=("/sdapi/v1/reload-checkpoint",),
        summary="Loads the chosen model.",
        answer=dict,
        errors=_OF_A_MODEL,
    ),
    Operation(
        method="POST",
        paths=_REFRESHED,
        summary="Nothing: the lists are never older than a second. Workers see new files within seconds.",
        answer=lambda: None,
        answers=Any,
        errors=OF_EVERY_ROUTE,
    ),
)
