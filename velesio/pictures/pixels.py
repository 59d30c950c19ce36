"""Pixels: how large a picture is that a file claims to hold, from its first bytes, before anybody unpacks it."""

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = (
    ("png", _PNG, 0),
    ("jpeg", b"\xff\xd8\xff", 0),
    ("gif", b"GIF87a", 0),
    ("gif", b"GIF89a", 0),
    ("bmp", b"BM", 0),
    ("webp", b"WEBP", 8),
)
"""(kind, bytes of a file of it, where they stand)."""
_NO_SIZE = {0x01, *range(0xD0, 0xDA)}
"""JPEG's marks that are not followed by a length."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Those that are followed by a picture's size."""


def pixels_of(data: bytes) -> int | None:
    """Pixels of a PNG, JPEG, GIF, BMP or WebP file; None: it is none of these, or its size cannot be found."""
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack(">II", data[16:24])
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack("<HH", data[6:10])
        elif data.startswith(b"BM"):
            width, height = struct.unpack("<ii", data[18:26])
        elif data.startswith(b"WEBP", 8):
            width, height = _of_webp(data)
        elif data.startswith(b"\xff\xd8"):
            width, height = _of_jpeg(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return int(abs(width * height))


def _of_jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        while data[place] == 0xFF:
            place += 1
        mark, place = data[place], place + 1
        if mark in _FRAMES:
            height, width = struct.unpack(">HH", data[place + 3 : place + 7])
            return width, height
        if mark not in _NO_SIZE:
            (length,) = struct.unpack(">H", data[place : place + 2])
            place += max(2, length)


def _of_webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
