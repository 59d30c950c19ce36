"""Pictures in A1111's bodies: base64 or `data:` addresses. Other addresses were replaced where they may be fetched."""

import base64
import binascii
from typing import Any

from velesio.errors import BadRequest
from velesio.http.fetching import OPTION
from velesio.http.wire import bad_field


def decoded(value: Any, path: str) -> bytes:
    """The file that a field holds.

    Raises:
        BadRequest: it holds none.
    """
    if not isinstance(value, str):
        raise bad_field(path, "expected a picture in base64")
    if value.startswith(("http://", "https://")):
        raise BadRequest(
            f"Field '{path}': Requests not allowed: nothing is fetched here; the operator may allow hosts with "
            f"{OPTION}. Send the picture in base64",
            param=path,
        )
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        file = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        file = b""
    if not file:
        raise BadRequest(f"Invalid encoded image: field '{path}' is not base64", param=path)
    return file


def encoded(file: bytes) -> str:
    """A file as clients want it: base64 without `data:`."""
    return base64.b64encode(file).decode("ascii")


def address(file: bytes) -> str:
    """A file as a `data:` address."""
    kind = "jpeg" if file.startswith(b"\xff\xd8") else "webp" if file.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64,{encoded(file)}"
