"""llama.cpp's `/lora-adapters`: a model's adapters, and their scales for jobs that name none."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import Unsupported
from velesio.http.access import scopes
from velesio.http.fields import of
from velesio.http.finding import find_model
from velesio.http.gateway import GATEWAY, SCALES
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.wire import bad_field, json_response, read_list
from velesio.queue import adapters


class Scale(msgspec.Struct):
    """One adapter's scale."""

    id: int
    scale: float


async def listing(request: web.Request) -> web.Response:
    """`GET /lora-adapters`: those of the model (`?model=`), with the scales in force."""
    card = await find_model(request, request.query.get("model", ""), "text")
    return json_response(listed(card, request.get(SCALES)))


def listed(card: ModelCard, scales: adapters.Scales | None) -> list[dict[str, Any]]:
    """A model's adapters; without `scales`, with those of the configuration."""
    known: Sequence[dict[str, Any]] = card.meta.get("lora", ())
    if scales is None:
        return list(known)
    given = dict(scales)
    return [adapter | {"scale": given.get(adapter["id"], 0.0)} for adapter in known]


async def change(request: web.Request) -> web.Response:
    """`POST /lora-adapters`: sets the scales for every job from now on, on all workers; those not named are at 0."""
    gateway = request.app[GATEWAY]
    scales = await read_list(request, gateway.server.max_body, Scale)
    card = await find_model(request, request.query.get("model", ""), "text")
    scopes.demand_control(request, "setting the scales of adapters")
    await adapters.write(gateway.broker, card.name, checked(card, scales))
    return json_response({"success": True})


def checked(card: ModelCard, scales: Sequence[Scale]) -> adapters.Scales:
    """The scales, if the model has these adapters.

    Raises:
        Unsupported: it has none.
        BadRequest: it has others.
    """
    known = [adapter["id"] for adapter in card.meta.get("lora", ())]
    if scales and not known:
        raise Unsupported(f"the model {card.name!r} has no LoRA adapters; give it some with its option `lora`")
    for index, scale in enumerate(scales):
        if scale.id not in known:
            raise bad_field(f"[{index}].id", f"the model has no adapter {scale.id}; it has {known}")
    return tuple((scale.id, scale.scale) for scale in scales)


ROUTES = [web.get("/lora-adapters", listing), web.post("/lora-adapters", change)]

_MODEL = {"model": "a name or alias of `GET /models`; the first"}
API = (
    Operation(
        method="GET",
        paths=("/lora-adapters",),
        summary="Lists the model's LoRA adapters with the scales in force.",
        query=_MODEL,
        answer=lambda: [{"id": 0, "path": "pirate.gguf", "scale": 0.5}],
        answers=list[dict[str, Any]],
    ),
    Operation(
        method="POST",
        paths=("/lora-adapters",),
        summary="Sets the scales for every job from now on, on all workers; adapters that are not named are at 0.",
        query=_MODEL,
        lists=True,
        fields=of(Scale, id="of the adapter", scale="0: off; 1: as it was trained"),
        example=[{"id": 0, "scale": 0.5}],
        answer=lambda: {"success": True},
        errors=(*OF_EVERY_JOB, Unsupported),
    ),
)
