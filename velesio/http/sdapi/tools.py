"""A1111's tools: what a picture's text says, and what there is no model for."""

from typing import Any, NoReturn

import msgspec
from aiohttp import web

from velesio.errors import Unprocessable, Unsupported
from velesio.http.fields import Fields, of
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.sdapi.drawing import body_of
from velesio.http.sdapi.pictures import decoded
from velesio.http.sdapi.values import read
from velesio.http.wire import json_response
from velesio.pictures import infotext, picture_text


class PngInfo(msgspec.Struct):
    """The fields of `/sdapi/v1/png-info`."""

    image: str


FIELDS: Fields = of(PngInfo, image="a picture in base64: PNG, JPEG, WebP or GIF")


async def png_info(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/png-info`."""
    asked = PngInfo(**read(await body_of(request), FIELDS))
    return json_response(described(decoded(asked.image, "image")))


def described(file: bytes) -> dict[str, Any]:
    """What a picture says of how it was made."""
    text = picture_text.read(file)
    parameters = infotext.parse(text.info).with_defaults() if text.info else {}
    return {"info": text.info, "items": text.items, "parameters": parameters}


async def interrogate(request: web.Request) -> NoReturn:
    """`POST /sdapi/v1/interrogate`."""
    await body_of(request)
    raise Unsupported("no model here describes pictures; ask one that sees, at /v1/chat/completions")


ROUTES = [
    web.post("/sdapi/v1/png-info", png_info),
    web.post("/sdapi/v1/interrogate", interrogate),
]

_TEXT = "a red fox\nSteps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 7, Size: 64x64"

API = (
    Operation(
        method="POST",
        paths=("/sdapi/v1/png-info",),
        summary="What a picture's text says of how it was made. Sent as `infotext`, it asks for the same picture.",
        fields=FIELDS,
        example={"image": "iVBORw0KGgo="},
        answer=lambda: {"info": _TEXT, "items": {}, "parameters": infotext.parse(_TEXT).with_defaults()},
        errors=(*OF_EVERY_ROUTE, Unprocessable),
    ),
    Operation(
        method="POST",
        paths=("/sdapi/v1/interrogate",),
        summary="Refused: no model here describes pictures.",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unprocessable, Unsupported),
    ),
)
