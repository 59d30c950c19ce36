"""A1111's extras: given pictures made larger, one or several."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec
from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import Unprocessable, Unsupported, VelesioError
from velesio.http.dispatch import checked, jobs_of
from velesio.http.fields import Field, Fields, given, refuse
from velesio.http.finding import find_model
from velesio.http.form import Form
from velesio.http.gateway import JOB_ID
from velesio.http.idempotency import answers_to
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.drawing import body_of, image_cards, options_of
from velesio.http.sdapi.models import meant
from velesio.http.sdapi.names import PLAIN_UPSCALERS
from velesio.http.sdapi.options import MODEL, overriding
from velesio.http.sdapi.pictures import decoded, encoded
from velesio.http.sdapi.values import read as read_values
from velesio.http.wire import bad_field, json_response
from velesio.jobs import Enlarge, ImageResult

SINGLE, BATCH = "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images"
_MOST_SIDE = 65536
_TILES = ("ESRGAN_tile", "ESRGAN_tile_overlap")
_PARAMS = {
    "scale": "upscaling_resize",
    "width": "upscaling_resize_w",
    "upscaler": "upscaler_1",
    "share": "extras_upscaler_2_visibility",
    "pictures": "image",
}
"""What workers call fields that have other names here."""


def _barred(what: str) -> Field:
    return Field(
        type=float,
        note=f"{what} is",
        default=0.0,
        fate="refused",
        instead="leave it at 0",
        asks=lambda value: value not in {0, "0", "0.0", ""} if isinstance(value, str | int | float) else bool(value),
    )


_COMMON: Fields = {
    "resize_mode": given(int, "0: by `upscaling_resize`; 1: to a size", default=0),
    "show_extras_results": Field(type=bool, note="what is made is always shown", default=True, fate="no effect"),
    "gfpgan_visibility": _barred("the restoring of faces"),
    "codeformer_visibility": _barred("the restoring of faces"),
    "codeformer_weight": Field(type=float, note="faces are not restored", default=0.0, fate="no effect"),
    "upscaling_resize": given(float, "how much larger; sides become multiples of 8", default=2.0),
    "upscaling_resize_w": given(int, "pixels that are covered", default=512),
    "upscaling_resize_h": given(int, "as `upscaling_resize_w`", default=512),
    "upscaling_crop": given(bool, "whether what reaches beyond that size is cut off", default=True),
    "upscaler_1": given(str, "one of `/sdapi/v1/upscalers`; None leaves the picture as it is", default="None"),
    "upscaler_2": given(str, "another one, whose result is laid over the first one's", default="None"),
    "extras_upscaler_2_visibility": given(float, "how much of that is seen, 0 to 1", default=0.0),
    "upscale_first": Field(type=bool, note="there is nothing else to do first", default=False, fate="no effect"),
    "override_settings": given(
        dict[str, Any], f"options for this request alone: `{MODEL}`, whose worker does it, and `ESRGAN_tile`"
    ),
}
FIELDS: Mapping[str, Fields] = {
    SINGLE: {**_COMMON, "image": given(str, "a picture in base64", required=True)},
    BATCH: {
        **_COMMON,
        "imageList": given(list[dict[str, Any]], 'pictures: `[{"data": base64, "name": text}]`', required=True),
    },
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    model: str
    params: list[Enlarge]
    """One."""


def read(path: str, raw: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Asked:
    """A request from its body; `stored` are the options that the client has set.

    Raises:
        BadRequest: naming the field; Unprocessable where its value has a wrong type.
        Unsupported: it asks for something that is not there.
    """
    refuse(raw, FIELDS[path])
    values = read_values(raw, FIELDS[path])
    sized = values["resize_mode"] == 1
    if values["resize_mode"] not in {0, 1}:
        raise bad_field("resize_mode", f"is {values['resize_mode']}; it must be 0 or 1")
    options = dict(DEFAULTS) | dict(stored or {}) | overriding(values["override_settings"])
    tile, overlap = (max(0, int(options[name])) for name in _TILES)
    return Asked(
        model=options[MODEL] or "",
        params=[
            Enlarge(
                pictures=_pictures(path, values),
                upscaler=values["upscaler_1"] or "None",
                second=values["upscaler_2"] or "None",
                share=min(max(values["extras_upscaler_2_visibility"], 0.0), 1.0),
                scale=values["upscaling_resize"],
                width=_side(values, "upscaling_resize_w") if sized else 0,
                height=_side(values, "upscaling_resize_h") if sized else 0,
                crop=values["upscaling_crop"],
                tile=tile,
                overlap=overlap,
            )
        ],
    )


def _side(values: Mapping[str, Any], name: str) -> int:
    found: int = values[name]
    if not 1 <= found <= _MOST_SIDE:
        raise bad_field(name, f"is {found}; it must lie between 1 and {_MOST_SIDE} pixels")
    return found


def _pictures(path: str, values: Mapping[str, Any]) -> tuple[bytes, ...]:
    if path == SINGLE:
        return (decoded(values["image"], "image"),)
    listed = values["imageList"]
    if not listed:
        raise bad_field("imageList", "has no picture")
    return tuple(
        decoded(each.get("data") if isinstance(each, dict) else each, f"imageList[{index}].data")
        for index, each in enumerate(listed)
    )


def write(path: str, _asked: Asked, _model: str, _job_id: str, results: Sequence[ImageResult]) -> dict[str, Any]:
    """The answer."""
    (result,) = results
    texts = dict.fromkeys(text for text in result.infotexts if text)
    html = "".join(f"<p>{escape(text)}</p>" for text in texts)
    files = [encoded(file) for file in result.pictures]
    return {"html_info": html, "image": files[0]} if path == SINGLE else {"html_info": html, "images": files}


def _form(path: str) -> Form:
    async def settle(request: web.Request, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        stored = await options_of(request)
        card = await _card(request, read(path, raw, stored))
        kept = {name: stored[name] for name in _TILES if name in stored}
        return dict(raw) | {"override_settings": kept | (raw.get("override_settings") or {}) | {MODEL: card.name}}

    return Form(
        lambda raw: read(path, raw), lambda *written: write(path, *written), ImageResult, "image", settle=settle
    )


FORMS: Mapping[str, Form] = {path: _form(path) for path in FIELDS}
"""By path."""


async def _card(request: web.Request, asked: Asked) -> ModelCard:
    """The chosen model, or the first one whose worker has the upscalers that it lacks."""
    cards = image_cards(request)
    wanted = {each.upscaler.lower() for each in asked.params} | {each.second.lower() for each in asked.params}
    wanted -= {name.lower() for name in PLAIN_UPSCALERS}
    chosen = meant(cards, asked.model) if asked.model else ""
    order = sorted(cards, key=lambda card: card.name != chosen) if chosen else cards
    able = [card.name for card in order if wanted <= {name.lower() for name in card.meta.get("upscalers", ())}]
    return await find_model(request, able[0] if able else chosen, "image")


def _handler(path: str) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        asked = read(path, await body_of(request), await options_of(request))
        card = await _card(request, asked)
        try:
            async with answers_to(request, jobs_of(request, card.name, asked.params, stream=False)) as answers:
                result = checked(await answers.only(), ImageResult)
        except VelesioError as error:
            error.param = _PARAMS.get(error.param or "", error.param)
            raise
        request[JOB_ID] = answers.ids[0]
        return json_response(write(path, asked, card.name, answers.ids[0], [result]))

    return handle


ROUTES = [web.post(path, _handler(path)) for path in FIELDS]

_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
_TEXT = "Postprocess upscale by: 4, Postprocess upscaler: Lanczos"


def _operation(path: str, summary: str, example: dict[str, Any]) -> Operation:
    shown = ImageResult((b"\x89PNG",), infotexts=(_TEXT,))
    return Operation(
        method="POST",
        paths=(path,),
        summary=summary,
        notes="The files are PNG; they keep the text of the given ones, and say under `postprocessing` what was done. "
        "A picture may have `max_enlarged` pixels in the end. Which model is chosen matters only where workers have "
        "different upscalers.",
        fields=FIELDS[path],
        example=example | {"upscaling_resize": 4, "upscaler_1": "Lanczos"},
        answer=lambda: write(path, read(path, example), "", "", [shown]),
        errors=(*OF_EVERY_JOB, Unprocessable, Unsupported),
    )


API = (
    _operation(SINGLE, "Enlarges a picture as it is.", {"image": _PICTURE}),
    _operation(BATCH, "Enlarges several.", {"imageList": [{"data": _PICTURE, "name": "one.png"}]}),
)
