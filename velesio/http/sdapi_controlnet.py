"""Routes of A1111's ControlNet extension: what units may name."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.sdapi import image_cards
from velesio.http.wire import json_response

VERSION = 3
UNITS = 3
"""Units that clients show; a request may have more."""

MODULES: Mapping[str, tuple[tuple[str, float, float, float, float], ...]] = {
    "none": (),
    "canny": (("Low Threshold", 100, 1, 255, 1.0), ("High Threshold", 200, 1, 255, 1.0)),
    "invert": (),
    "threshold": (("Binarization Threshold", 127, 0, 255, 1.0),),
    "blur_gaussian": (("Sigma", 9, 0.01, 64, 0.01),),
    "scribble_xdog": (("XDoG Threshold", 32, 1, 64, 1.0),),
    "lineart_standard": (("Gaussian Sigma", 6, 0.1, 32, 0.1), ("Intensity Threshold", 8, 0, 16, 0.1)),
    "tile_resample": (("Down Sampling Rate", 1, 1, 8, 0.01),),
    "color": (),
    "recolor_luminance": (("Gamma Correction", 1, 0.1, 2, 0.001),),
    "recolor_intensity": (("Gamma Correction", 1, 0.1, 2, 0.001),),
    "shuffle": (),
    "inpaint": (),
    "inpaint_only": (),
    "inpaint_global_harmonious": (),
}
"""Preprocessors, with name, default, limits and step of each of their numbers."""


async def version(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /controlnet/version`."""
    return json_response({"version": VERSION})


async def settings(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /controlnet/settings`."""
    return json_response({"control_net_unit_count": UNITS})


async def model_list(request: web.Request) -> web.Response:
    """`GET /controlnet/model_list`."""
    return json_response({"model_list": models(_names(request))})


async def module_list(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /controlnet/module_list`."""
    return json_response(modules())


async def control_types(request: web.Request) -> web.Response:
    """`GET /controlnet/control_types`."""
    return json_response(types(_names(request)))


def _names(request: web.Request) -> list[str]:
    return list(dict.fromkeys(name for card in image_cards(request) for name in card.meta.get("controls", ())))


def models(names: Sequence[str]) -> list[str]:
    """ControlNets, with the one that is none."""
    return ["None", *names]


def modules() -> dict[str, Any]:
    """Preprocessors and their numbers."""
    keys = ("name", "value", "min", "max", "step")
    detail = {
        name: {"model_free": False, "sliders": [dict(zip(keys, slider, strict=True)) for slider in sliders]}
        for name, sliders in MODULES.items()
    }
    return {"module_list": list(MODULES), "module_detail": detail}


def types(names: Sequence[str]) -> dict[str, Any]:
    """One type that has everything: which ControlNet wants which preprocessor is the client's to know."""
    return {
        "control_types": {
            "All": {
                "module_list": list(MODULES),
                "model_list": models(names),
                "default_option": "none",
                "default_model": "None",
            }
        }
    }


ROUTES = [
    web.get("/controlnet/version", version),
    web.get("/controlnet/settings", settings),
    web.get("/controlnet/model_list", model_list),
    web.get("/controlnet/module_list", module_list),
    web.get("/controlnet/control_types", control_types),
]


def _operation(name: str, summary: str, answer: Any) -> Operation:
    return Operation(
        method="GET",
        paths=(f"/controlnet/{name}",),
        summary=summary,
        answer=lambda: answer,
        errors=OF_EVERY_ROUTE,
    )


API = (
    _operation("version", "Version of the extension's API.", {"version": VERSION}),
    _operation("settings", "How many units clients show; a request may have more.", {"control_net_unit_count": UNITS}),
    _operation("model_list", "ControlNets.", {"model_list": models(["canny"])}),
    _operation("module_list", "Preprocessors with their numbers: those that need no weights.", modules()),
    _operation("control_types", "All of both.", types(["canny"])),
)
