"""Routes of A1111's ControlNet extension: what units may name, and what preprocessors make of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from aiohttp import web

from velesio.errors import Unprocessable, Unsupported
from velesio.http.dispatch import ask
from velesio.http.fields import Fields, given, of
from velesio.http.operations import OF_EVERY_JOB, OF_EVERY_ROUTE, Operation
from velesio.http.sdapi.drawing import ERRORS, body_of, drawn_of, find_image_model, image_cards, options_of
from velesio.http.sdapi.fields import Kind
from velesio.http.sdapi.options import MODEL
from velesio.http.sdapi.pictures import decoded, encoded
from velesio.http.sdapi.values import read
from velesio.http.wire import json_response
from velesio.jobs import Detect, ImageResult

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


class Detection(msgspec.Struct):
    """The fields of `/controlnet/detect`."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = []
    controlnet_images: list[str] = []
    controlnet_masks: list[str] = []
    controlnet_processor_res: int = -1
    controlnet_threshold_a: float = -1.0
    controlnet_threshold_b: float = -1.0
    low_vram: bool = False


DETECTION: Fields = of(
    Detection,
    controlnet_module="a preprocessor",
    controlnet_input_images="pictures in base64",
    controlnet_images="as `controlnet_input_images`",
    controlnet_masks="none, or one for each picture; what is white is hidden by the modules for inpainting",
    controlnet_processor_res="pixels for the preprocessor; -1: 512",
    controlnet_threshold_a="of the preprocessor; -1: its own",
    controlnet_threshold_b="of the preprocessor; -1: its own",
    low_vram="for A1111's own use",
) | {"low_vram": msgspec.structs.replace(given(bool, "for A1111's own use", default=False), fate="no effect")}


def detection(raw: Mapping[str, Any]) -> Detect:
    """What is to be shown.

    Raises:
        Unprocessable: there is no such module or no picture, or not a mask for each.
    """
    asked = Detection(**read(raw, DETECTION))
    pictures = asked.controlnet_input_images or asked.controlnet_images
    if asked.controlnet_module.lower() not in MODULES:
        raise Unprocessable(
            f"Module not available: there is no {asked.controlnet_module!r}; there are {', '.join(MODULES)}"
        )
    if not pictures:
        raise Unprocessable("No image selected", param="controlnet_input_images")
    if asked.controlnet_masks and len(asked.controlnet_masks) != len(pictures):
        raise Unprocessable(
            f"there are {len(asked.controlnet_masks)} masks for {len(pictures)} pictures", param="controlnet_masks"
        )
    return Detect(
        pictures=_files(pictures, "controlnet_input_images"),
        module=asked.controlnet_module.lower(),
        resolution=asked.controlnet_processor_res if asked.controlnet_processor_res > 0 else 512,
        threshold_a=asked.controlnet_threshold_a,
        threshold_b=asked.controlnet_threshold_b,
        masks=_files(asked.controlnet_masks, "controlnet_masks"),
    )


def _files(values: Sequence[str], name: str) -> tuple[bytes, ...]:
    return tuple(decoded(value, f"{name}[{index}]") for index, value in enumerate(values))


async def detect(request: web.Request) -> web.Response:
    """`POST /controlnet/detect`."""
    asked = detection(await body_of(request))
    card = await find_image_model(request, (await options_of(request)).get(MODEL, ""))
    result = await ask(request, card.name, asked, ImageResult)
    return json_response(_shown(result))


def _shown(result: ImageResult) -> dict[str, Any]:
    return {"images": [encoded(file) for file in result.pictures], "info": "Success"}


async def render_openpose(request: web.Request) -> NoReturn:  # noqa: ARG001
    """`POST /controlnet/render_openpose_json`."""
    raise Unsupported("poses are not drawn here; send a picture of one as a unit's image, with the module none")


async def txt2img(request: web.Request) -> web.Response:
    """`POST /controlnet/txt2img`: as the extension had it before its units stood in `alwayson_scripts`."""
    return await _drawn(request, "txt2img")


async def img2img(request: web.Request) -> web.Response:
    """`POST /controlnet/img2img`: the same for img2img."""
    return await _drawn(request, "img2img")


async def _drawn(request: web.Request, kind: Kind) -> web.Response:
    return json_response(await drawn_of(request, kind, with_units(await body_of(request))))


def with_units(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A body whose `controlnet_units` stand where they do now; there a unit counts unless it says otherwise.

    Raises:
        Unprocessable: they are no list of objects.
    """
    units, scripts = raw.get("controlnet_units") or [], raw.get("alwayson_scripts") or {}
    if (
        not isinstance(units, list)
        or not all(isinstance(unit, dict) for unit in units)
        or not isinstance(scripts, dict)
    ):
        raise Unprocessable("controlnet_units: expected a list of objects", param="controlnet_units")
    args = [{"enabled": True} | unit for unit in units]
    rest = {name: value for name, value in raw.items() if name != "controlnet_units"}
    return rest | {"alwayson_scripts": scripts | ({"ControlNet": {"args": args}} if args else {})}


ROUTES = [
    web.post("/controlnet/detect", detect),
    web.post("/controlnet/render_openpose_json", render_openpose),
    web.post("/controlnet/txt2img", txt2img),
    web.post("/controlnet/img2img", img2img),
    web.get("/controlnet/version", version),
    web.get("/controlnet/settings", settings),
    web.get("/controlnet/model_list", model_list),
    web.get("/controlnet/module_list", module_list),
    web.get("/controlnet/control_types", control_types),
]

_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


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
    Operation(
        method="POST",
        paths=("/controlnet/detect",),
        summary="What preprocessors make of pictures: what a ControlNet would be shown.",
        fields=DETECTION,
        example={"controlnet_module": "canny", "controlnet_input_images": [_PICTURE]},
        answer=lambda: _shown(ImageResult((b"\x89PNG",))),
        errors=(*OF_EVERY_JOB, Unprocessable),
    ),
    Operation(
        method="POST",
        paths=("/controlnet/txt2img", "/controlnet/img2img"),
        summary="As `POST /sdapi/v1/txt2img` and `img2img`, with the units in `controlnet_units`.",
        notes="The extension had these routes before; a unit counts there unless it says `enabled: false`.",
        example={"prompt": "a red fox", "steps": 4, "width": 64, "height": 64, "controlnet_units": []},
        answers=Any,
        fields={"controlnet_units": given(list[dict[str, Any]], "ControlNet's units", default=[])},
        errors=ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/controlnet/render_openpose_json",),
        summary="Refused: poses are not drawn.",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unsupported),
    ),
)
