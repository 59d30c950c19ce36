"""Pixels: how large a picture is that a file claims to hold, from its first bytes, before anybody unpacks it."""

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_NO_SIZE = {0x01, *range(0xD0, 0xDA)}
"""JPEG's marks that are not followed by a length."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Those that are followed by a picture's size."""


def pixels_of(data: bytes) -> int | None:
    """Pixels of a PNG, JPEG, GIF or BMP file; None: it is none of these, or its size cannot be found."""
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack(">II", data[16:24])
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack("<HH", data[6:10])
        elif data.startswith(b"BM"):
            width, height = struct.unpack("<ii", data[18:26])
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
