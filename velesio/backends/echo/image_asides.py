"""Echo's asides with pictures: what comes out has the size that it must have, and depends on what was given alone."""

import hashlib
import struct
from collections.abc import Callable, Mapping

from velesio.backends.echo.picture import draw
from velesio.errors import BadRequest
from velesio.jobs import Detect, Enlarge, ImageAside, ImageResult, Sheet

_PNG = b"\x89PNG\r\n\x1a\n"
_UPSCALERS = ("none", "lanczos", "nearest")
_MOST_PIXELS = 1 << 22


def answer(params: ImageAside) -> ImageResult:
    """The result.

    Raises:
        BadRequest: a file is no PNG, an upscaler is unknown, or the result would be too large.
    """
    return _ANSWERS[type(params)](params)


def _enlarge(params: Enlarge) -> ImageResult:
    for name in (params.upscaler, params.second):
        if name.lower() not in _UPSCALERS:
            raise BadRequest(f"could not find upscaler named {name!r}; near to it: Lanczos", param="upscaler")
    if params.upscaler.lower() == "none":
        return ImageResult(params.pictures)
    files = []
    for file in params.pictures:
        width, height = size_of(file)
        size = (int(width * params.scale), int(height * params.scale))
        files.append(
            _drawn(f"{params.upscaler}|{_named(file)}", *((params.width, params.height) if params.width else size))
        )
    text = f"Postprocess upscale by: {params.scale:g}, Postprocess upscaler: {params.upscaler}"
    return ImageResult(tuple(files), infotexts=(text,) * len(files))


def _detect(params: Detect) -> ImageResult:
    return ImageResult(tuple(_drawn(f"{params.module}|{_named(file)}", *size_of(file)) for file in params.pictures))


def _sheet(params: Sheet) -> ImageResult:
    sizes = [size_of(file) for file in params.pictures if file]
    rows = -(-len(params.pictures) // max(params.columns, 1))
    text = "|".join([*map(_named, params.pictures), *params.over, *params.beside])
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    return ImageResult((_drawn(text, width * params.columns, height * rows),))


def size_of(file: bytes) -> tuple[int, int]:
    """Width and height of a PNG file.

    Raises:
        BadRequest: it is none.
    """
    if not file.startswith(_PNG) or len(file) < 24:
        raise BadRequest("this is no whole picture file (PNG)", param="pictures")
    width, height = struct.unpack_from(">II", file, 16)
    return width, height


def _drawn(text: str, width: int, height: int) -> bytes:
    if not 0 < width * height <= _MOST_PIXELS:
        raise BadRequest(f"this model makes {_MOST_PIXELS} pixels in one picture at most", param="scale")
    return draw(text, 0, width, height)


def _named(file: bytes) -> str:
    return hashlib.blake2b(file, digest_size=8).hexdigest()


_ANSWERS: Mapping[type, Callable[..., ImageResult]] = {Enlarge: _enlarge, Detect: _detect, Sheet: _sheet}
