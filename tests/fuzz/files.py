"""Files of strangers: pictures and what they say, and the heads of models."""

import base64
import contextlib
import json
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.backends.llama import gguf_file
from tests.fuzz.source import Source
from tests.fuzz.target import Target
from velesio.backends.diffusion import header
from velesio.backends.llama import gguf
from velesio.errors import BadRequest, ConfigError, ModelLoadFailed
from velesio.http import media
from velesio.http.sdapi import pictures as sdapi_pictures
from velesio.http.sdapi.tools import described
from velesio.pictures import picture_text
from velesio.pictures.pixels import pixels_of

_ROOM = Path(tempfile.mkdtemp(prefix="velesio-fuzz-"))


def _look(data: bytes) -> None:
    pixels = pixels_of(data)
    assert pixels is None or 0 <= pixels < 2**64
    texts = picture_text.read(data)
    for text in (texts.info, *texts.items.values()):
        assert len(text) <= picture_text.MAX_TEXT
    told = described(data)
    json.dumps(told).encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _build_png(data: bytes) -> None:
    """A PNG file whose chunks are whole, so that what they hold is looked at."""
    source = Source(data)
    file = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", source.number(2**32 - 1), 7, 8, 0, 0, 0, 0))
    for _ in range(source.number(4)):
        kind = source.pick((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"IDAT"))
        keyword = source.pick((b"parameters", b"Comment", b"x", b""))
        inner = (
            source.rest()[: source.number(300)]
            if source.byte() > 200
            else bytes(source.byte() for _ in range(source.number(60)))
        )
        inner *= 1 << source.number(14) if source.byte() > 240 else 1
        packed = zlib.compress(inner) if source.byte() % 2 else inner
        middle = {b"zTXt": b"\0\0", b"iTXt": source.pick((b"\0\0\0\0\0", b"\0\1\0\0\0", b"\0\1\0de\0x\0"))}.get(
            kind, b"\0"
        )
        file += _chunk(kind, packed if kind == b"eXIf" else keyword + middle + packed)
    _look(file)


def _pictures() -> Iterator[bytes]:
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    info = "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64"
    yield picture_text.png_with(png + _chunk(b"IEND", b""), {"parameters": info, "Titel": "Größe €"})
    yield (
        png
        + _chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 5000))
        + _chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(b"b"))
    )
    exif = picture_text.user_comment(info)
    yield b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + b"\xff\xc0\0\x0b\x08\0\x10\0\x10\x03\xff\xd9"
    webp = (
        b"WEBPVP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + b"\x0f\0\0\x0f\0\0"
        + b"EXIF"
        + struct.pack("<I", len(exif))
        + exif
    )
    yield b"RIFF" + struct.pack("<I", len(webp)) + webp
    yield b"RIFF\x20\0\0\0WEBPVP8L\x10\0\0\0\x2f\x0f\xc0\x03\0" + bytes(16)
    yield b"GIF89a\x10\0\x10\0\0\0\0!\xfe\x05hello\0;"
    yield b"BM" + bytes(16) + struct.pack("<ii", 16, -16) + bytes(20)


def _decode(data: bytes) -> None:
    text = data.decode("latin-1")
    for read in (media.decoded, media.file_of, sdapi_pictures.decoded):
        with contextlib.suppress(BadRequest):
            file = read(text, "image")
            assert len(file) <= len(text)
            media.sense_of(file)
            pixels_of(file)


def _encoded() -> Iterator[bytes]:
    for picture in _pictures():
        yield base64.b64encode(picture)
        yield b"data:image/png;base64," + base64.b64encode(picture)
    yield from (b"http://x/y.png", b"data:,", b"data:image/png;base64,====", b"YQ==\nYg==")


def _gguf(data: bytes) -> None:
    path = _ROOM / "model.gguf"
    path.write_bytes(data)
    found = gguf.read(path)
    for name in (
        "is_model",
        "file_type",
        "vocabulary_type",
        "vocabulary",
        "chat_template",
        "tool_template",
        "pooling",
        "generates",
    ):
        getattr(found, name)
    assert found.cell_bytes(16, 16) >= 0 or found.is_lora
    assert found.number("context_length") is not None


def _models() -> Iterator[bytes]:
    yield gguf_file.contents()
    yield gguf_file.contents(
        {**gguf_file.MINIMAL, "general.type": (gguf_file.STRING, "adapter"), "adapter.type": (8, "lora")}
    )
    yield gguf_file.contents({"general.architecture": (8, "clip"), "general.file_type": (gguf_file.ARRAY, (4, [1, 2]))})
    yield b"GGUF" + struct.pack("<IQQ", 3, 0, 0)


def _safetensors(data: bytes) -> None:
    path = _ROOM / "model.safetensors"
    path.write_bytes(data)
    found = header.read(path)
    assert found.begin <= len(data)
    assert found.shapes.keys() == found.types.keys()
    assert all(isinstance(value, str) for value in found.metadata.values())


def _tensors() -> Iterator[bytes]:
    entry = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    for head in (
        {"w": entry},
        {"__metadata__": {"format": "pt"}, "w": entry, "v": {"dtype": "U8", "shape": [], "data_offsets": [12, 13]}},
        {"__metadata__": None},
    ):
        text = json.dumps(head).encode()
        yield struct.pack("<Q", len(text)) + text + bytes(13)


TARGETS = (
    Target("pictures", _look, (), _pictures),
    Target("png", _build_png, (), lambda: (bytes(range(start, start + 60)) for start in range(0, 190, 20))),
    Target("base64", _decode, (), _encoded),
    Target("gguf", _gguf, (ConfigError,), _models),
    Target("safetensors", _safetensors, (ModelLoadFailed,), _tensors),
)
