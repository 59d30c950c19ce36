"""Files of pictures of one colour, made with the standard library."""

import struct
import zlib


def png(width: int, height: int, color: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """A PNG file."""
    rows = b"".join(b"\0" + bytes(color) * width for _ in range(height))

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
