"""Multipart bodies: forms with files in them, read into what a JSON body with the same fields would be."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import BodyPartReader, MultipartReader, http_exceptions, web

from velesio.errors import BadRequest, BodyTooLarge
from velesio.http.fetching import drawn_slots
from velesio.http.fields import Fields
from velesio.http.gateway import BODY
from velesio.http.idempotency import key_of
from velesio.http.wire import bad_field, encode, in_time, read_object

MEDIA_TYPE = "multipart/form-data"
MOST_PARTS = 64
"""Of one body."""

_CHUNK = 1 << 16
_BROKEN = (ValueError, AssertionError, RuntimeError, web.RequestPayloadError, http_exceptions.HttpProcessingError)
"""What aiohttp raises for parts that are none."""
_KINDS: Mapping[Any, str] = {int: "an integer", float: "a number", bool: "true or false"}


async def read_form(request: web.Request, limit: int, fields: Fields) -> dict[str, Any]:
    """The body's fields: files are bytes, texts are what `fields` says that they are, a name that comes more than once
    (`image[]`) has a list. A body that is no form is read as JSON.

    Raises:
        BodyTooLarge: above `limit` bytes.
        BadRequest: it is not whole, has too many parts, or a field is not what it should be.
    """
    if request.content_type != MEDIA_TYPE:
        return await read_object(request, limit, drawn_slots)
    length = request.content_length
    if length is not None and length > limit:
        raise BodyTooLarge(f"the body has {length} bytes; at most {limit} are accepted (server.max_image_body)")
    try:
        async with in_time(request):
            raw = await _Parts(limit, fields).read(await request.multipart())
    except _BROKEN as error:
        raise BadRequest(f"the body is no whole form: {' '.join(str(error).split())}") from None
    if key_of(request):
        request[BODY] = encode(raw)  # in which files are base64, as JSON bodies have them
    return raw


class _Parts:
    """What was read of a form."""

    def __init__(self, limit: int, fields: Fields) -> None:
        self._limit = limit
        self._left = limit
        self._fields = fields
        self._raw: dict[str, Any] = {}

    async def read(self, reader: MultipartReader) -> dict[str, Any]:
        """All parts."""
        count = 0
        async for part in reader:
            count += 1
            if count > MOST_PARTS:
                raise BadRequest(f"the form has more than {MOST_PARTS} parts, the most that are accepted")
            if not isinstance(part, BodyPartReader) or not part.name:
                raise BadRequest("each part of the form must have a name, and none may be a form itself")
            self._take(part.name.removesuffix("[]"), part.filename is not None, await self._bytes(part))
        return self._raw

    async def _bytes(self, part: BodyPartReader) -> bytes:
        data = bytearray()
        while chunk := await part.read_chunk(_CHUNK):
            data += chunk
            self._left -= len(chunk)
            if self._left < 0:
                raise BodyTooLarge(
                    f"the body has more than {self._limit} bytes, the most that is accepted (server.max_image_body)"
                )
        return bytes(data)

    def _take(self, name: str, is_file: bool, data: bytes) -> None:
        value = data if is_file else typed(name, data, self._fields)
        if name not in self._raw:
            self._raw[name] = value
        elif isinstance(self._raw[name], list):
            self._raw[name].append(value)
        else:
            self._raw[name] = [self._raw[name], value]


def typed(name: str, data: bytes, fields: Fields) -> Any:
    """A text of a form as the number or truth value that its field wants; others stay texts.

    Raises:
        BadRequest: it is none.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise bad_field(name, "is neither a file (with a filename) nor text in UTF-8") from None
    kind = fields[name].type if name in fields else str
    if kind not in _KINDS:
        return text
    try:
        return msgspec.convert(text.strip(), kind, strict=False)
    except msgspec.ValidationError:
        raise bad_field(name, f"expected {_KINDS[kind]}, but got {text[:40]!r}") from None
