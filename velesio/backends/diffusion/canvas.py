"""The canvas: pictures from files, brought to a size and back, as tensors and as PNG."""

import io
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError
from torch import Tensor

from velesio.backends.diffusion.masks import Picture
from velesio.errors import BadRequest
from velesio.pictures import picture_text

Plane = NDArray[np.float32]

WHITE = "#ffffff"
_KINDS = ("PNG", "JPEG", "WEBP")
_MOST_PIXELS = 64 << 20
"""Of a picture that is given; a file says it before anything is unpacked."""
_LONGEST_COMMENT = 65000
"""Bytes; a part of a JPEG's head has room for 65533."""


def read(file: bytes, param: str) -> Image.Image:
    """A picture from a file, RGB or, where it has transparency, RGBA.

    Raises:
        BadRequest: if it is no picture or too large; `param` names the field.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is looked at here
            picture = Image.open(io.BytesIO(file), formats=_KINDS)
            if picture.width * picture.height > _MOST_PIXELS:
                raise Image.DecompressionBombError
            transparent = picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
            return picture.convert("RGBA" if transparent else "RGB")
    except Image.DecompressionBombError:
        limit = f"{_MOST_PIXELS >> 20} million pixels"
        raise BadRequest(f"a picture that is given is too large; it may have {limit}", param=param) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        kind = " of a kind that is known (PNG, JPEG, WebP)" if isinstance(error, UnidentifiedImageError) else ""
        raise BadRequest(f"this is no whole picture file{kind}", param=param) from None


def on_background(picture: Image.Image, colour: str = WHITE) -> Image.Image:
    """The picture without transparency.

    Raises:
        BadRequest: if there is no such colour.
    """
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, rgb(colour, "background"))
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def rgb(colour: str, param: str) -> tuple[int, ...]:
    """The numbers that a colour means.

    Raises:
        BadRequest: if there is no such colour; `param` names the field.
    """
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError:
        raise BadRequest(f"there is no colour {colour!r}; expected one like #ffffff or white", param=param) from None


def array_of(picture: Image.Image, colour: str = WHITE) -> Picture:
    """Its pixels, on a colour where it is transparent."""
    return np.asarray(on_background(picture, colour))


def of_array(pixels: Picture) -> Image.Image:
    """A picture of pixels."""
    return Image.fromarray(pixels)


def tensor_of(pixels: Picture) -> Tensor:
    """[1, 3, height, width] between 0 and 1."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1).unsqueeze(0).contiguous()


def of_tensor(pixels: Tensor) -> Picture:
    """Pixels from [3, height, width] between 0 and 1."""
    found: Picture = (pixels.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return found


def png(image: Image.Image, text: str = "") -> bytes:
    """A PNG file, with a text that says how it was made."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return picture_text.png_with(out.getvalue(), {picture_text.KEY: text}) if text else out.getvalue()


def encoded(image: Image.Image, text: str, form: str, quality: int, *, lossless: bool = False) -> bytes:
    """A file of a kind, with a text that says how it was made, unless that is too long for a JPEG's head."""
    if form == "png":
        return png(image, text)
    comment = picture_text.user_comment(text) if text else b""
    out = io.BytesIO()
    exif = comment if len(comment) <= _LONGEST_COMMENT else b""
    more = {"lossless": lossless} if form == "webp" else {}
    image.save(out, form.upper(), quality=quality, exif=exif, **more)
    return out.getvalue()


def recoloured(image: Image.Image, like: Image.Image) -> Image.Image:
    """The picture with the distribution of brightness and colours of another one, in the YCbCr planes."""
    own = np.asarray(image.convert("YCbCr"), dtype=np.float32)
    other = np.asarray(like.convert("YCbCr"), dtype=np.float32)
    planes = [_matched(own[..., plane], other[..., plane]) for plane in range(3)]
    whole = np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
    return Image.fromarray(whole, "YCbCr").convert("RGB")


def _matched(own: Plane, other: Plane) -> Plane:
    """Values moved so that as many lie below each as in the other plane."""
    _, places, counts = np.unique(own.ravel(), return_inverse=True, return_counts=True)
    values, other_counts = np.unique(other.ravel(), return_counts=True)
    part = np.cumsum(counts) / own.size
    other_part = np.cumsum(other_counts) / other.size
    moved: Plane = np.interp(part, other_part, values).astype(np.float32)[places]
    return moved.reshape(own.shape)
