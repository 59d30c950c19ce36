"""Origin: the request behind a background job, kept with it so that whoever fetches the answer gets it in the shape
that the request's own route would have given."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from velesio.errors import Unreadable
from velesio.http.wire import parse_object
from velesio.queue.wire import reader


class Origin(msgspec.Struct, frozen=True):
    """A route and the body that was meant for it."""

    url: str
    body: bytes
    """JSON."""

    def packed(self) -> bytes:
        """As it is kept with the job; releases can add fields."""
        return _encode(self)

    @classmethod
    def unpacked(cls, kept: bytes) -> "Origin | None":
        """What was kept; None: nothing, or nothing that this release knows."""
        try:
            return _decode(kept)
        except Unreadable:
            return None

    def raw(self) -> dict[str, Any]:
        """The body, read."""
        return parse_object(self.body)

    def fingerprint(self) -> str:
        """Equal for requests that say the same, however their JSON is laid out."""
        body = msgspec.json.encode(self.raw(), order="deterministic")
        return hashlib.blake2b(self.url.encode() + b"\0" + body, digest_size=16).hexdigest()


_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Origin] = reader(Origin)
