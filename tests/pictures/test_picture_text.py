"""Texts in files of pictures."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from velesio.pictures import picture_text

TEXT = "ein Kätzchen, \N{CAT}\nSteps: 20, Sampler: Euler, Seed: 5"


def encoded(format_name: str, **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(out, format_name, **options)
    return out.getvalue()


@pytest.mark.parametrize("text", ["plain", "Umlaut ü", TEXT])
def test_a_png_keeps_the_text_and_its_pixels(text):
    """Pillow and this module read what this module wrote; the picture stays a valid one."""
    file = picture_text.png_with(encoded("PNG"), {"parameters": text, "Software": "x"})
    assert picture_text.read(file) == picture_text.PictureText(text, {"Software": "x"})
    with Image.open(io.BytesIO(file)) as image:
        image.load()
        assert image.text["parameters"] == text
        assert image.getpixel((3, 3)) == (200, 30, 30)


@pytest.mark.parametrize("packed", [False, True])
def test_what_pillow_wrote_into_a_png_is_read(packed):
    """Plain, packed and Unicode chunks of other writers."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "plain", zip=packed)
    info.add_itxt("Comment", TEXT, zip=packed)
    file = encoded("PNG", pnginfo=info)
    assert picture_text.read(file) == picture_text.PictureText("plain", {"Comment": TEXT})


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP", "PNG"])
def test_exif_comments_are_written_and_read(format_name):
    """The block goes through Pillow's writers and comes back; other EXIF readers find the comment too."""
    file = encoded(format_name, exif=picture_text.user_comment(TEXT))
    assert picture_text.read(file).info == TEXT
    with Image.open(io.BytesIO(file)) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + TEXT.encode("utf-16-be")


def test_little_endian_exif_and_gif_comments_are_read():
    """Cameras and old tools write them."""
    comment = b"UNICODE\0" + TEXT.encode("utf-16-le")
    inner = struct.pack("<HHHII", 1, 0x9286, 7, len(comment), 44) + struct.pack("<I", 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0) + inner + comment
    assert picture_text.read(encoded("JPEG", exif=block)).info == TEXT
    assert picture_text.read(encoded("GIF", comment=b"hello")).info == "hello"


@pytest.mark.parametrize(
    "file", [b"", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xff"]
)
def test_files_without_text_and_stumps_have_none(file):
    """No error: there is nothing to read."""
    assert picture_text.read(file) == picture_text.PictureText("", {})


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 2000), st.integers(0, 255), st.integers(0, 2000))
def test_damage_never_raises(format_name, place, byte, end):
    """A flipped byte or a cut leaves whatever could still be read."""
    file = bytearray(encoded(format_name, exif=picture_text.user_comment(TEXT)))
    file[place % len(file)] = byte
    assert isinstance(picture_text.read(bytes(file[: end % len(file) + 1])).info, str)


def test_packed_text_is_unpacked_to_a_limit():
    """A text bomb of 64 MiB gives no more than the limit."""
    data = b"parameters\0\0" + zlib.compress(b"a" * (64 << 20))
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    plain = encoded("PNG")
    assert len(picture_text.read(plain[:33] + chunk + plain[33:]).info) == picture_text.MAX_TEXT


def test_only_png_files_take_texts():
    """Anything else is refused."""
    with pytest.raises(ValueError, match="PNG"):
        picture_text.png_with(encoded("JPEG"), {"parameters": "x"})
