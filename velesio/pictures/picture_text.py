"""Picture text: the infotext in files of pictures: PNG text chunks, and EXIF comments of JPEG and WebP.

Standard library only, so that whoever is shown a file can read it. No pixel is decoded; sizes in a file are believed
only as far as the file reaches, and compressed text is unpacked to `MAX_TEXT` bytes at most.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

KEY = "parameters"
"""The PNG keyword that A1111's clients look for."""

MAX_TEXT = 1 << 20
"""Bytes of one text."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_EXIF_POINTER, _USER_COMMENT = 0x8769, 0x9286
_ASCII, _UNICODE = b"ASCII\0\0\0", b"UNICODE\0"
_GIF = (b"GIF87a", b"GIF89a")


class PictureText(NamedTuple):
    """What a file says about itself."""

    info: str
    """The infotext; empty: it has none."""
    items: dict[str, str]
    """Its other texts by their keywords."""


def read(file: bytes) -> PictureText:
    """The texts of a PNG, JPEG, WebP or GIF; a damaged file has those before the damage, any other file none."""
    items = _items(file)
    info = items.pop(KEY, "") or items.get("UserComment", "") or items.get("Comment", "")
    items.pop("UserComment", None)
    return PictureText(info, items)


def _items(file: bytes) -> dict[str, str]:
    if file.startswith(_PNG):
        return _png_texts(file)
    if file.startswith(b"\xff\xd8"):
        return _comment(_jpeg_exif(file))
    if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
        return _comment(_webp_exif(file))
    if file.startswith(_GIF):
        return _gif_comment(file)
    return {}


def png_with(file: bytes, texts: dict[str, str]) -> bytes:
    """A PNG file with these texts put before its pixels.

    Raises:
        ValueError: if it is no PNG file.
    """
    if not file.startswith(_PNG) or len(file) < 33:
        raise ValueError("texts can be put into PNG files only")
    head = 8 + 25
    return file[:head] + b"".join(_png_chunk(*item) for item in texts.items()) + file[head:]


def user_comment(text: str) -> bytes:
    """An EXIF block whose comment is this text, for JPEG and WebP writers."""
    comment = _UNICODE + text.encode("utf-16-be")
    inner = struct.pack(">HHHII", 1, _USER_COMMENT, 7, len(comment), 44) + struct.pack(">I", 0)
    outer = struct.pack(">HHHIII", 1, _EXIF_POINTER, 4, 1, 26, 0)
    return _EXIF + b"MM\0*" + struct.pack(">I", 8) + outer + inner + comment


def _png_chunk(keyword: str, text: str) -> bytes:
    try:
        kind, data = b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, data = b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_texts(file: bytes) -> dict[str, str]:
    texts: dict[str, str] = {}
    place = len(_PNG)
    while place + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, place)
        kind, data = file[place + 4 : place + 8], file[place + 8 : place + 8 + length]
        if kind == b"IEND" or len(data) < length:
            break
        if kind in {b"tEXt", b"zTXt", b"iTXt"}:
            keyword, _, rest = data.partition(b"\0")
            texts[keyword.decode("latin-1")] = _png_value(kind, rest)
        elif kind == b"eXIf":
            texts |= _comment(data)
        place += 12 + length
    return texts


def _png_value(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        return rest[:MAX_TEXT].decode("latin-1")
    if kind == b"zTXt":
        return _unpacked(rest[1:]).decode("latin-1")
    packed = rest[:1] == b"\1"
    value = rest[2:].split(b"\0", 2)[-1]
    return (_unpacked(value) if packed else value[:MAX_TEXT]).decode("utf-8", "replace")


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""


def _jpeg_exif(file: bytes) -> bytes:
    place = 2
    while place + 4 <= len(file) and file[place] == 0xFF and file[place + 1] not in {0xDA, 0xD9}:
        (length,) = struct.unpack_from(">H", file, place + 2)
        data = file[place + 4 : place + 2 + length]
        if file[place + 1] == 0xE1 and data.startswith(_EXIF):
            return data
        place += 2 + max(length, 2)
    return b""


def _webp_exif(file: bytes) -> bytes:
    place = 12
    while place + 8 <= len(file):
        (length,) = struct.unpack_from("<I", file, place + 4)
        if file[place : place + 4] == b"EXIF":
            return file[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    return b""


def _comment(exif: bytes) -> dict[str, str]:
    """The comment of an EXIF block as the item `UserComment`."""
    block = exif.removeprefix(_EXIF)
    order = {b"MM": ">", b"II": "<"}.get(block[:2])
    if order is None or len(block) < 8:
        return {}
    try:
        first = dict(_tags(block, order, struct.unpack_from(order + "I", block, 4)[0]))
        inner = dict(_tags(block, order, first[_EXIF_POINTER][1]))
        count, place = inner[_USER_COMMENT]
    except (KeyError, struct.error):
        return {}
    return {"UserComment": _decoded(block[place : place + min(count, MAX_TEXT)], order)}


def _tags(block: bytes, order: str, place: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each tag's number with its count and its value, which for long ones is their place."""
    (count,) = struct.unpack_from(order + "H", block, place)
    for entry in range(min(count, 512)):
        tag, _kind, number, value = struct.unpack_from(order + "HHII", block, place + 2 + 12 * entry)
        yield tag, (number, value)


def _decoded(comment: bytes, order: str) -> str:
    code, text = comment[:8], comment[8:]
    if code == _UNICODE:
        return text.decode("utf-16-be" if order == ">" or text[:1] == b"\0" else "utf-16-le", "replace")
    return (text if code == _ASCII else comment).decode("utf-8", "replace").strip("\0")


def _gif_comment(file: bytes) -> dict[str, str]:
    start = file.find(b"\x21\xfe")
    if start < 0:
        return {}
    place, parts = start + 2, list[bytes]()
    while place < len(file) and (length := file[place]) and len(parts) < 4096:
        parts.append(file[place + 1 : place + 1 + length])
        place += 1 + length
    return {"Comment": b"".join(parts).decode("utf-8", "replace")}
