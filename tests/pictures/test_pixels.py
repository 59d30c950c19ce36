"""Sizes of pictures, from the first bytes of their files."""

import struct

import pytest

from tests.pictures.plain import png
from velesio.pictures.pixels import pixels_of

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc4\x00\x03x\xff\xc0\x00\x11\x08" + struct.pack(">HH", 30, 40) + b"rest"


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (png(20, 10), 200),
        (png(20, 10)[:24], 200),
        (png(20, 10)[:23], None),
        (b"\x89PNG\r\n\x1a\n....IHDR" + struct.pack(">II", 100_000, 100_000), 10_000_000_000),
        (b"GIF89a" + struct.pack("<HH", 3, 4), 12),
        (b"BM" + bytes(16) + struct.pack("<ii", 5, -6), 30),
        (JPEG, 1200),
        (JPEG[:20], None),
        (b"\xff\xd8\xff\xd9" * 3, None),
        (b"RIFF....WEBP", None),
        (b"RIFF....WEBPVP8X" + bytes(8) + b"\x63\0\0\x31\0\0", 5000),
        (b"RIFF....WEBPVP8L" + bytes(5) + struct.pack("<I", 99 | 49 << 14), 5000),
        (b"RIFF....WEBPVP8 " + bytes(10) + struct.pack("<HH", 100, 50), 5000),
        (b"", None),
    ],
)
def test_pixels_of(data: bytes, pixels: int | None) -> None:
    """What the head says, though the rest is missing; None for what is cut off before or of another kind."""
    assert pixels_of(data) == pixels
