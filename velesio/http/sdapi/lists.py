"""A1111's lists: what there is to choose from, as the workers tell it."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.sdapi import names as sdapi_names
from velesio.http.sdapi import redrawing, scripts
from velesio.http.sdapi.axes import of_tab
from velesio.http.sdapi.drawing import image_cards
from velesio.http.sdapi.models import described
from velesio.http.sdapi.plots import MATRIX, XYZ
from velesio.http.sdapi.styles import STYLES, Style
from velesio.http.wire import json_response

_Cards = Sequence[ModelCard]


def _union(cards: _Cards, key: str, otherwise: Sequence[str] = ()) -> list[str]:
    """What the cards' facts list under a key, each once, in the order in which they come."""
    names = dict.fromkeys(str(name) for card in cards for name in card.meta.get(key, ()))
    return list(names) or list(otherwise)


def _sd_models(cards: _Cards) -> Any:
    return [described(card) for card in cards]


def _samplers(cards: _Cards) -> Any:
    return [sdapi_names.sampler(name) for name in _union(cards, "samplers", tuple(sdapi_names.SAMPLERS))]


def _schedulers(cards: _Cards) -> Any:
    return [sdapi_names.scheduler(label) for label in _union(cards, "schedules", tuple(sdapi_names.SCHEDULERS))]


def _upscalers(cards: _Cards) -> Any:
    names = [*sdapi_names.PLAIN_UPSCALERS, *_union(cards, "upscalers")]
    return [sdapi_names.upscaler(name) for name in names]


def _latent_modes(_: _Cards) -> Any:
    return [{"name": name} for name in sdapi_names.LATENT_MODES]


def _vaes(cards: _Cards) -> Any:
    return [{"model_name": name, "filename": name} for name in _union(cards, "vaes")]


def _loras(cards: _Cards) -> Any:
    return [{"name": name, "alias": name, "path": name, "metadata": {}} for name in _union(cards, "loras")]


def _embeddings(cards: _Cards) -> Any:
    unknown = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": None, "vectors": None}
    return {"loaded": dict.fromkeys(_union(cards, "embeddings"), unknown), "skipped": {}}


def _scripts(_: _Cards) -> Any:
    # webuiapi takes the extension's script for videos, which is not here, as the sign that ControlNet is.
    always = (*scripts.ALWAYS_ON, "controlnet m2m")
    return {kind: [*names, *always] for kind, names in scripts.SELECTABLE.items()}


def _script_info(_: _Cards) -> Any:
    named = [
        {"name": name, "is_alwayson": False, "is_img2img": kind == "img2img", "args": _arguments(kind, name)}
        for kind, names in scripts.SELECTABLE.items()
        for name in names
    ]
    always = [
        {"name": name, "is_alwayson": True, "is_img2img": kind == "img2img", "args": []}
        for kind in scripts.SELECTABLE
        for name in scripts.ALWAYS_ON
    ]
    return named + always


def _argument(label: str, value: Any, **limits: Any) -> dict[str, Any]:
    return {"label": label, "value": value, "minimum": None, "maximum": None, "step": None, "choices": None} | limits


def _arguments(kind: str, name: str) -> list[dict[str, Any]]:
    return _of_xyz(kind) if name == XYZ else _ARGUMENTS[name]


_DIRECTIONS = ["left", "right", "up", "down"]
_NO_LABEL = _argument("", "")
"""What A1111's form has at the first place: a text, no argument."""
_OUTPAINTING = [
    _argument("Pixels to expand", 128, minimum=1, maximum=4096, step=1),
    _argument("Mask blur", 4, minimum=0, maximum=64, step=1),
    _argument("Masked content", "fill", choices=["fill", "original", "latent noise", "latent nothing"]),
    _argument("Outpainting direction", _DIRECTIONS, choices=_DIRECTIONS),
]
_MK2 = [
    _NO_LABEL,
    _argument("Pixels to expand", 128, minimum=1, maximum=4096, step=1),
    _argument("Mask blur", 8, minimum=0, maximum=64, step=1),
    _argument("Outpainting direction", _DIRECTIONS, choices=_DIRECTIONS),
    _argument("Fall-off exponent (lower=higher detail)", 1.0, minimum=0.0, maximum=4.0, step=0.01),
    _argument("Color variation", 0.05, minimum=0.0, maximum=1.0, step=0.01),
]
_LOOPBACK = [
    _argument("Loops", 4, minimum=1, maximum=32, step=1),
    _argument("Final denoising strength", 0.5, minimum=0, maximum=1, step=0.01),
    _argument("Denoising strength curve", "Linear", choices=["Aggressive", "Linear", "Lazy"]),
    _argument("Append interrogated prompt at each iteration", "None", choices=["None"]),
]
_UPSCALE = [
    _NO_LABEL,
    _argument("Tile overlap", 64, minimum=0, maximum=256, step=16),
    _argument("Upscaler", "None"),
    _argument("Scale Factor", 2.0, minimum=1.0, maximum=4.0, step=0.05),
]


_MATRIX = [
    _argument("Put variable parts at start of prompt", False),
    _argument("Use different seed for each picture", False),
    _argument("Select prompt", "positive", choices=["positive", "negative"]),
    _argument("Select joining char", "comma", choices=["comma", "space"]),
    _argument("Grid margins (px)", 0, minimum=0, maximum=500, step=2),
]
_ARGUMENTS = {
    redrawing.OUTPAINTING: _OUTPAINTING,
    redrawing.MK2: _MK2,
    redrawing.LOOPBACK: _LOOPBACK,
    redrawing.UPSCALE: _UPSCALE,
    MATRIX: _MATRIX,
}


def _of_xyz(kind: str) -> list[dict[str, Any]]:
    labels = [axis.label for axis in of_tab(kind)]
    axes = [
        _argument(f"{axis} {what}", value, choices=choices)
        for axis in "XYZ"
        for what, value, choices in (("type", "Nothing", labels), ("values", "", None), ("values", [], None))
    ]
    flags = ("Draw legend", "Include Sub Images", "Include Sub Grids", "Keep -1 for seeds")
    seeds = [_argument(f"Vary seeds for {axis}", False) for axis in "XYZ"]
    return [
        *axes,
        *(_argument(flag, flag == "Draw legend") for flag in flags),
        *seeds,
        _argument("Grid margins (px)", 0, minimum=0, maximum=500, step=2),
        _argument("Use text inputs instead of dropdowns", False),
    ]


def _nothing(_: _Cards) -> Any:
    return []


def _flags(_: _Cards) -> Any:
    return {
        "api": True, "api_auth": None, "api_log": False, "api_server_stop": False, "ckpt": None, "ckpt_dir": None,
        "listen": False, "lowvram": False, "medvram": False, "medvram_sdxl": False, "nowebui": True, "port": None,
        "share": False, "vae_dir": None, "xformers": False,
    }  # fmt: skip


def _memory(_: _Cards) -> Any:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
        ram: dict[str, Any] = {"free": free, "used": total - free, "total": total}
    except (ValueError, OSError) as error:  # systems that do not tell
        ram = {"error": str(error)}
    return {"ram": ram, "cuda": {"error": "the gateway has no GPU; velesio doctor tells the workers' devices"}}


LISTS: dict[str, tuple[Callable[[_Cards], Any], str]] = {
    "sd-models": (_sd_models, "Image models that the key may use. Hashes stand in the pictures' texts."),
    "sd-vae": (_vaes, "VAEs that may replace a model's own."),
    "samplers": (_samplers, "Samplers."),
    "schedulers": (_schedulers, "Noise schedules."),
    "upscalers": (_upscalers, "Upscalers of pictures."),
    "latent-upscale-modes": (_latent_modes, "Upscalers of latents."),
    "loras": (_loras, "LoRAs."),
    "embeddings": (_embeddings, "Textual inversions."),
    "hypernetworks": (_nothing, "None: they are not supported."),
    "face-restorers": (_nothing, "None: faces are not restored."),
    "realesrgan-models": (_nothing, "None: their files are among the upscalers."),
    "scripts": (_scripts, "Names of scripts."),
    "script-info": (_script_info, "Scripts and their arguments."),
    "extensions": (_nothing, "None."),
    "cmd-flags": (_flags, "Flags that clients look at, as if they had been given."),
    "memory": (_memory, "Bytes of this machine's memory."),
}
"""By the last part of the path."""


def _handler(list_of: Callable[[_Cards], Any]) -> Any:
    async def handle(request: web.Request) -> web.Response:
        return json_response(list_of(image_cards(request)))

    return handle


async def prompt_styles(request: web.Request) -> web.Response:
    """`GET /sdapi/v1/prompt-styles`."""
    return json_response([style._asdict() for style in request.app[STYLES].read().values()])


async def earlier_models(request: web.Request) -> web.Response:
    """`GET /api/sd-models`: as the earlier Velesio server had it."""
    return json_response(_sd_models(image_cards(request)))


ROUTES = [
    *(web.get(f"/sdapi/v1/{name}", _handler(of)) for name, (of, _) in LISTS.items()),
    web.get("/sdapi/v1/prompt-styles", prompt_styles),
    web.get("/api/sd-models", earlier_models),
]

_CARD = ModelCard(
    name="dreams",
    backend="diffusion",
    capability="image",
    meta={"file": "dreams.safetensors", "vaes": ["soft"], "loras": ["ink"], "embeddings": ["fluff"]},
)


def _operation(path: str, of: Callable[[_Cards], Any], summary: str) -> Operation:
    shown = None if of is _memory else (lambda: of([_CARD]))
    if of in {_samplers, _schedulers}:
        shown = lambda: of([_CARD])[:2]  # noqa: E731 - two entries show what the others are like
    return Operation(
        method="GET",
        paths=(path,),
        summary=summary,
        answer=shown,
        answers=Any,
        nullable=("hash", "sha256", "config", "aliases", "model_name", "model_path", "model_url"),
        errors=OF_EVERY_ROUTE,
    )


API = (
    *(_operation(f"/sdapi/v1/{name}", of, summary) for name, (of, summary) in LISTS.items()),
    Operation(
        method="GET",
        paths=("/sdapi/v1/prompt-styles",),
        summary="Styles that `styles` may name: those of the file `sdapi.styles`.",
        answer=lambda: [Style("ink", "ink drawing of {prompt}", "colour")._asdict()],
        answers=Any,
        errors=OF_EVERY_ROUTE,
    ),
)
EARLIER = (_operation("/api/sd-models", _sd_models, "As `GET /sdapi/v1/sd-models`."),)
