"""JSON over HTTP: reads request bodies into typed structs, writes answers."""

import asyncio
import functools
import logging
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from aiohttp import http_exceptions, web

from velesio.errors import BadRequest, BodyTooLarge, BodyTooSlow
from velesio.http.fetching import FETCHER, Find, every_slot
from velesio.http.gateway import BODY, GATEWAY

content = logging.getLogger("velesio.content")
"""Writes what clients say, at the level `debug-content` alone."""
content.disabled = True

T = TypeVar("T")

encode = msgspec.json.Encoder().encode

INT_MAX = 2**31 - 1
_DIGITS = 18
FLOAT_MAX = 3.4028234663852886e38
"""Engines compute in int32 and float32."""

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`value` as JSON."""
    return web.Response(
        body=encode(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


async def read_object(request: web.Request, limit: int, slots_of: Find = every_slot) -> dict[str, Any]:
    """The body as a JSON object without its null fields, whatever the content type says; with pictures in the places
    `slots_of` it where their addresses stood, if those may be fetched.

    Raises:
        BodyTooLarge: above `limit` bytes, before reading where the headers tell.
        BadRequest: no JSON, or not an object; or a picture that it names by address cannot be fetched.
    """
    request[BODY] = await read_bytes(request, limit)
    return await fetched(request, parse_object(request[BODY]), slots_of)


async def fetched(request: web.Request, raw: dict[str, Any], slots_of: Find) -> dict[str, Any]:
    """The body with pictures in the place of their addresses, as if it had come so.

    Raises:
        BadRequest: one cannot be had.
    """
    if b"http" in request[BODY] and await request.app[FETCHER].inline(raw, slots_of):
        request[BODY] = encode(raw)
    return raw


async def read_list(request: web.Request, limit: int, kind: type[T]) -> list[T]:
    """The body as a JSON list of `kind`.

    Raises:
        BodyTooLarge: above `limit` bytes.
        BadRequest: no JSON, or not such a list.
    """
    value = _decode(await read_bytes(request, limit))
    if not isinstance(value, list):
        raise BadRequest("the body must be a JSON list")
    try:
        return msgspec.convert(value, list[kind])  # type: ignore[valid-type]  # a type at run time
    except msgspec.ValidationError as error:
        raise explain_type(str(error), "body") from None


async def read_bytes(request: web.Request, limit: int, option: str = "server.max_body") -> bytes:
    """The body; `option` is where its limit stands.

    Raises:
        BodyTooLarge: above `limit` bytes, before reading where the headers tell.
        BodyTooSlow: it did not come within `server.body_timeout`.
        BadRequest: it breaks off.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise BodyTooLarge(f"the body has {length} bytes; at most {limit} are accepted ({option})")
    try:
        body = request.content.read_nowait() if request.content.is_eof() else await _awaited(request, limit)
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
        reason = " ".join(str(error).split()).removeprefix("400, message: ")
        raise BadRequest(f"the body cannot be read: {reason}") from None
    if len(body) > limit:
        raise BodyTooLarge(f"the body has more than {limit} bytes, the most that is accepted ({option})")
    if content.isEnabledFor(logging.DEBUG):
        content.debug("request body: %s", body.decode(errors="replace"))
    return body


async def _awaited(request: web.Request, limit: int) -> bytes:
    """A body of which not all has come yet; of one that is too long a little more than `limit`."""
    body = bytearray()
    async with in_time(request):
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                break
    return bytes(body)


@asynccontextmanager
async def in_time(request: web.Request) -> AsyncIterator[None]:
    """Bounds the time in which a body is read inside the block.

    Raises:
        BodyTooSlow
    """
    seconds = request.app[GATEWAY].server.body_timeout
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise BodyTooSlow(f"the body did not come within {seconds:g} seconds (server.body_timeout)") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object; fields that are null are left out, since null means absent in every family.

    Raises:
        BadRequest: naming the line and column of what is wrong.
    """
    value = _decode(body)
    if not isinstance(value, dict):
        raise BadRequest('the body must be a JSON object, like {"prompt": "Hello"}')
    return {name: item for name, item in value.items() if item is not None}


def _decode(body: bytes) -> Any:
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body.strip():
        raise BadRequest("the body is empty; send JSON")
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body is not usable: {error}") from None
    except msgspec.DecodeError as error:
        raise BadRequest(_explain_syntax(str(error), body)) from None


def _explain_syntax(message: str, body: bytes) -> str:
    match = re.search(r"JSON is malformed: (.*) \(byte (\d+)\)", message)
    if match is None:
        what, offset = "it ends too early, or a string holds half of a surrogate pair", len(body)
    else:
        what, offset = match.group(1), min(int(match.group(2)), len(body) - 1)
    before = body[:offset]
    line = before.count(b"\n") + 1
    column = offset - (before.rfind(b"\n") + 1) + 1
    return f"the body is not valid JSON: {what} at line {line}, column {column} (byte {offset})"


def bad_field(path: str, what: str) -> BadRequest:
    """The refusal of the field at `path` (`messages[1].content`)."""
    return BadRequest(f"Field '{path}': {what}", param=path)


def convert(raw: Mapping[str, Any], kind: type[T]) -> T:
    """`raw` as a struct; fields that the struct does not know are ignored, 8.0 is as good as 8.

    Raises:
        BadRequest: naming the field.
    """
    whole: frozenset[str] = _integer_fields(kind)  # type: ignore[arg-type]  # classes are hashable
    given = {
        name: int(value) if type(value) is float and name in whole and value.is_integer() else value
        for name, value in raw.items()
    }
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise explain_type(str(error)) from None


@functools.cache
def _integer_fields(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.type is int)


def explain_type(message: str, under: str = "") -> BadRequest:
    """msgspec's message about a wrong type, in the words of JSON; `under` is the path of the value it speaks of."""
    place, path = _path(message, under)
    if match := re.match(r"Expected `([^`]+)`, got `([^`]+)`", place):
        wanted = [_WORDS.get(name, name) for name in match.group(1).split(" | ") if name != "null"]
        got = _WORDS.get(match.group(2), match.group(2))
        return bad_field(path, f"expected {' or '.join(wanted)}, but got {got}")
    if match := re.match(r"Object missing required field `([^`]+)`", place):
        missing = f"{path}.{match.group(1)}" if path else match.group(1)
        return bad_field(missing, "is required")
    return bad_field(path, place[:1].lower() + place[1:])


def _path(message: str, under: str) -> tuple[str, str]:
    text, _, place = message.partition(" - at `$")
    path = under + place.rstrip("`").replace("[...]", "")
    return text, path.removeprefix(".")


def number_in(text: str) -> int | None:
    """The whole number that a text from an address or a key is; None: it is none, or too long to be meant (Python
    itself reads no more than 4,300 digits)."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def within(path: str, value: int, low: int, high: int = INT_MAX) -> int:
    """`value`, if it keeps a hard limit.

    Raises:
        BadRequest: in llama.cpp's words.
    """
    if not low <= value <= high:
        raise bad_field(path, f"Value must be between {low} <= value <= {high}, but got {value}")
    return value


def clamped(value: float, low: float, high: float) -> float:
    """`value` moved into a soft limit."""
    return low if math.isnan(value) else min(max(value, low), high)


def answer_id(prefix: str, job_id: str) -> str:
    """The id of an answer: who has it can find its job."""
    return f"{prefix}-{job_id}"
