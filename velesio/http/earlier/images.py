"""Pictures as clients of the earlier Velesio server ask for them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import Unprocessable
from velesio.http.fields import Fields, of
from velesio.http.operations import Operation
from velesio.http.sdapi.drawing import ERRORS, body_of, drawn_of
from velesio.http.sdapi.values import read
from velesio.http.wire import json_response


class Generate(msgspec.Struct):
    """The fields of `/generate-image`."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    sampler_name: str = "DPM++ 2M Karras"
    seed: int = -1
    batch_size: int = 1
    n_iter: int = 1


FIELDS: Fields = of(
    Generate,
    prompt="what to draw",
    negative_prompt="what not to draw",
    steps="of the sampler",
    cfg_scale="how closely the prompt is followed",
    width="pixels",
    height="pixels",
    sampler_name="may end with a schedule's name",
    seed="-1 draws one; picture i has seed + i",
    batch_size="pictures that are drawn together",
    n_iter="how often that is done",
)


async def generate_image(request: web.Request) -> web.Response:
    """`POST /generate-image`."""
    return json_response(answer_of(await drawn_of(request, "txt2img", read(await body_of(request), FIELDS))))


def answer_of(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A1111's answer in the earlier server's fields, which told the first picture alone."""
    images = drawn["images"]
    return {"image_base64": images[0] if images else "", "images": images, "info": drawn["info"]}


ROUTES = [web.post("/generate-image", generate_image)]

API = (
    Operation(
        method="POST",
        paths=("/generate-image",),
        summary="Draws pictures. `image_base64` is the first one, as there; `images` are all of them.",
        notes="`info` is what A1111's txt2img tells: JSON as a text.",
        fields=FIELDS,
        example={"prompt": "a red fox", "steps": 20, "width": 64, "height": 64},
        answer=lambda: {"image_base64": "iVBORw0KGgo=", "images": ["iVBORw0KGgo="], "info": '{"seed": 7}'},
        errors=(*ERRORS, Unprocessable),
    ),
)
