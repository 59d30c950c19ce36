"""llama.cpp's resumable streams: `/v1/stream`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, NotFound, Unavailable, VelesioError
from velesio.http import sse
from velesio.http.families import NATIVE
from velesio.http.fields import of
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.recording import checked, forget, shelf_of
from velesio.http.relay import Relay
from velesio.http.wire import bad_field, convert, encode, json_response, read_object
from velesio.queue.recordings import Lost, Recording, Shelf

_VARIANT = "::"
"""Between a conversation and a model, where a client keeps one stream for each."""
_MOST = 100
"""Conversations that one lookup may ask for."""


class Lookup(msgspec.Struct):
    """Which conversations a client wants to know of."""

    conversation_ids: list[Any] = []


async def follow(request: web.Request) -> web.StreamResponse:
    """`GET /v1/stream?conv_id=&from=`: the bytes of a conversation's streamed answer from a place on, as they were and
    as they come."""
    name, start, shelf = _conversation(request), _start(request), shelf_of(request)
    recording = await shelf.find(name)
    if recording is None:
        raise NotFound("Stream not found or expired")
    if start < (await shelf.size(recording)).dropped:
        raise BadRequest("Stream offset lost, please restart")
    gateway = request.app[GATEWAY]
    async with aclosing(_pieces(shelf, name, recording, start)) as pieces:
        relay = Relay(pieces)
        gateway.began(relay, request[CREDENTIAL].id)
        try:
            return await sse.respond(request, relay, _Frames(), ping_interval=-1)
        finally:
            gateway.ended(relay)


async def _pieces(shelf: Shelf, name: str, recording: Recording, start: int) -> AsyncGenerator[list[bytes], None]:
    async with aclosing(shelf.read(name, recording, start)) as pieces:
        try:
            async for piece in pieces:
                yield [piece]
        except Lost:
            raise Unavailable("the rest of this stream is lost: it was stopped, or its server has died") from None


class _Frames:
    """Bytes as they were recorded, pings among them, so that a reader's count of bytes stays right."""

    one_by_one = False

    def frames(self, _: int, piece: bytes) -> list[bytes]:
        """One piece."""
        return [piece]

    def ping(self) -> bytes:
        """None is sent."""
        return b""

    def failure(self, error: VelesioError) -> list[bytes]:
        """The last event."""
        return [sse.event(encode(NATIVE.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing: what ends the stream was recorded too."""
        return []


async def lookup(request: web.Request) -> web.Response:
    """`POST /v1/streams/lookup`: which of these conversations, or of their variants by model, have a stream."""
    body = convert(await read_object(request, request.app[GATEWAY].server.max_body), Lookup)
    asked = [name for name in body.conversation_ids if isinstance(name, str) and name]
    if len(asked) > _MOST:
        raise bad_field("conversation_ids", f"has {len(asked)} ids; at most {_MOST} are looked up at once")
    shelf = shelf_of(request)
    found = []
    for name in await shelf.names():
        if name in asked or name.partition(_VARIANT)[0] in asked:
            recording = await shelf.find(name)
            if recording is not None:
                size = await shelf.size(recording)
                found.append(_described(name, recording.started, size.total, size.ended))
    return json_response(found)


def _described(name: str, started: float, total: int, ended: float) -> dict[str, Any]:
    return {
        "conversation_id": name,
        "is_done": ended > 0,
        "total_bytes": total,
        "started_at": int(started),
        "completed_at": int(ended),
    }


async def stop(request: web.Request) -> web.Response:
    """`DELETE /v1/stream?conv_id=`: ends the answer if it goes on, and forgets it. Once more does no harm."""
    await forget(request, _conversation(request))
    return web.Response(status=204)


def _conversation(request: web.Request) -> str:
    name = request.query.get("conv_id", "")
    if not name:
        raise BadRequest("Missing conversation id in path", param="conv_id")
    return checked(name)


def _start(request: web.Request) -> int:
    given = request.query.get("from", "0") or "0"
    if not (given.isascii() and given.isdecimal() and len(given) <= 12):
        raise BadRequest("Invalid 'from' offset", param="from")
    return int(given)


ROUTES = [
    web.get("/v1/stream", follow, allow_head=False),
    web.delete("/v1/stream", stop),
    web.post("/v1/streams/lookup", lookup),
]

_CONVERSATION = {"conv_id": "what the request that is streamed had as `X-Conversation-Id`; required"}
API = (
    Operation(
        method="GET",
        paths=("/v1/stream",),
        summary="Gives the bytes of a streamed answer from a place on, as they were sent and as they come.",
        notes="A streamed request with the header `X-Conversation-Id` is answered to its end when its client leaves. "
        "Its bytes can be read by the same key, at any gateway, until `server.stream_ttl` seconds after its end. The "
        "next such request of the conversation takes its place. 404: there is none (any more); 400 `Stream offset "
        "lost`: it was longer than `server.stream_bytes`.",
        query=_CONVERSATION | {"from": "bytes that the client has; 0"},
        streams="text/event-stream",
        errors=(*OF_EVERY_ROUTE, NotFound),
    ),
    Operation(
        method="POST",
        paths=("/v1/streams/lookup",),
        summary="Tells which of some conversations, or of their variants `id::model`, have a stream, and how far.",
        fields=of(Lookup, conversation_ids=f"at most {_MOST}"),
        example={"conversation_ids": ["3c1f"]},
        answer=lambda: [_described("3c1f", 1.8e9, 2290, 0.0)],
        answers=list[dict[str, Any]],
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="DELETE",
        paths=("/v1/stream",),
        summary="Ends the answer if it goes on, and forgets it: 204, also if there is none.",
        query=_CONVERSATION,
        answers=None,
        statuses=(204,),
        errors=OF_EVERY_ROUTE,
    ),
)
