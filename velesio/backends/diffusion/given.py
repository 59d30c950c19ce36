"""Given pictures: what a job hands in to be changed, brought to the sizes at which it is drawn and put back.

Pictures are uint8 arrays (height, width, 3), masks float32 arrays from 0 (kept) to 1 (made anew).
"""

from typing import NamedTuple

import numpy as np
from PIL import Image as Pil

from velesio.backends.diffusion import canvas, masks, texture
from velesio.backends.diffusion.masks import Box, Mask, Picture
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest
from velesio.jobs import Image, Inpaint, Outpaint


class Given(NamedTuple):
    """A picture to be changed."""

    picture: Picture
    """What is encoded, at the size that is drawn."""
    mask: Mask | None
    """What of it is made anew, at that size; None: all."""
    under: Picture | None = None
    """What the result is pasted onto; None: the result is all."""
    paste: Mask | None = None
    """Where, softly, at the size of `under`."""
    box: Box | None = None
    """The part of `under` that was drawn; None: all."""
    overlay: bool = True
    """Whether `under` shows where nothing was made anew; else only where nothing was drawn."""

    def finished(self, drawn: Picture) -> Picture:
        """The result, with every pixel of the given picture where nothing was made anew."""
        if self.under is None or self.paste is None:
            return drawn
        if self.box is None:
            drawn = masks.resized(drawn, self.under.shape[1], self.under.shape[0], "stretch")
        share = self.paste if self.overlay else np.ones_like(self.paste)
        return masks.pasted(self.under, drawn, share, self.box)

    def shown(self, drawn: Picture, inpaint: Inpaint) -> tuple[bytes, ...]:
        """PNG files that a request wants of its mask: itself, and what was drawn inside of it."""
        if self.paste is None:
            return ()
        mask = Pil.fromarray(np.rint(self.paste * 255).astype(np.uint8))
        inside = canvas.of_array(drawn).convert("RGBA")
        inside.putalpha(mask)
        wanted = ((inpaint.show, mask.convert("RGB")), (inpaint.show_inside, inside))
        return tuple(canvas.png(image) for wants, image in wanted if wants)


def of_file(picture: Picture, params: Image, drawn: Size, result: Size, seed: int) -> Given:
    """What a file shows at the sizes of a request. `seed`: of what is drawn at random around it.

    Raises:
        BadRequest: if the mask is no picture.
    """
    if params.outpaint is not None:
        return enlarged(picture, params.outpaint, drawn, result, seed)
    return of_picture(picture, params, drawn, result)


def of_picture(picture: Picture, params: Image, drawn: Size, result: Size) -> Given:
    """A picture at the sizes of a request.

    Raises:
        BadRequest: if the mask is no picture.
    """
    mask = _mask(params.inpaint, picture) if params.inpaint is not None else None
    if params.inpaint is None or mask is None:
        return Given(masks.resized(picture, *drawn, params.resize), None)
    if params.inpaint.only_masked:
        return _part(picture, mask, params.inpaint, drawn)
    return _whole(picture, mask, params, drawn, result)


def outpainted_size(file: bytes, outpaint: Outpaint, multiple: int) -> Size:
    """The size of the canvas of a picture that is to be enlarged.

    Raises:
        BadRequest: if the file is no picture, or nothing is added to it.
    """
    if min(outpaint.left, outpaint.right, outpaint.up, outpaint.down) < 0 or not any(
        (outpaint.left, outpaint.right, outpaint.up, outpaint.down)
    ):
        raise BadRequest("say how many pixels are added at which sides", param="outpaint")
    picture = canvas.read(file, "init")
    place = _canvas(picture.width, picture.height, outpaint, multiple)
    return Size(place.width, place.height)


def enlarged(picture: Picture, outpaint: Outpaint, drawn: Size, result: Size, seed: int) -> Given:
    """The picture on its canvas, what is around it to be drawn."""
    place = _canvas(picture.shape[1], picture.shape[0], outpaint, 1)
    wide, tall = result
    left = round(place.old.left * wide / place.width) if place.width != wide else place.old.left
    top = round(place.old.top * tall / place.height) if place.height != tall else place.old.top
    left, top = min(left, wide - picture.shape[1]), min(top, tall - picture.shape[0])
    box = Box(left, top, left + picture.shape[1], top + picture.shape[0])
    under, mask = masks.outpainted(picture, masks.Canvas(wide, tall, box), outpaint.blur)
    soft = masks.blurred(mask, outpaint.blur, outpaint.blur)
    if outpaint.content == "texture":
        under = texture.around(under, box, detail=outpaint.detail, colours=outpaint.colours, seed=seed)
    return Given(
        _begun(masks.resized(under, *drawn, "stretch"), _at(soft, drawn), outpaint.content),
        _at(masks.rounded(mask), drawn),
        under,
        _doubled(soft),
    )


def _canvas(width: int, height: int, outpaint: Outpaint, multiple: int) -> masks.Canvas:
    return masks.canvas(
        width,
        height,
        left=outpaint.left,
        right=outpaint.right,
        up=outpaint.up,
        down=outpaint.down,
        multiple=multiple,
    )


def _mask(inpaint: Inpaint, picture: Picture) -> Mask | None:
    """The mask at the picture's size, softened; None: it is blank, and all is made anew."""
    shown = canvas.read(inpaint.mask, "mask")
    if shown.size != (picture.shape[1], picture.shape[0]):
        shown = shown.resize((picture.shape[1], picture.shape[0]), Pil.Resampling.LANCZOS)
    mask = masks.of_picture(shown, invert=inpaint.invert)
    if inpaint.hard:
        mask = masks.rounded(mask)
    return masks.blurred(mask, inpaint.blur_x, inpaint.blur_y) if mask.any() else None


def _whole(picture: Picture, mask: Mask, params: Image, drawn: Size, result: Size) -> Given:
    """All of the picture is drawn, and what the mask keeps is put back."""
    assert params.inpaint is not None  # noqa: S101 - the caller looked
    inner = _resized_mask(mask, drawn, params)
    small = masks.resized(picture, *drawn, params.resize)
    under = masks.resized(picture, *result, "stretch" if params.resize == "latent" else params.resize)
    if under.shape[:2] != (result.height, result.width):
        under = masks.resized(under, *result, "stretch")
    return Given(
        _begun(small, inner, params.inpaint.content),
        _hardened(inner, params.inpaint),
        under,
        _doubled(_resized_mask(mask, result, params)),
        overlay=params.inpaint.overlay,
    )


def _part(picture: Picture, mask: Mask, inpaint: Inpaint, drawn: Size) -> Given:
    """The masked part alone is drawn, at the whole size."""
    box = masks.only_masked(mask, *drawn, inpaint.padding)
    assert box is not None  # noqa: S101 - blank masks were sorted out
    inner = _at(mask[box.area], drawn)
    small = masks.resized(np.ascontiguousarray(picture[box.area]), *drawn, "stretch")
    begun, hardened = _begun(small, inner, inpaint.content), _hardened(inner, inpaint)
    return Given(begun, hardened, picture, mask, box, inpaint.overlay)


def _begun(picture: Picture, mask: Mask, content: str) -> Picture:
    """What is encoded: with colours from around where the mask is, unless the original is to show through."""
    return picture if content in {"original", "texture"} else masks.filled(picture, mask)


def _hardened(mask: Mask, inpaint: Inpaint) -> Mask:
    return masks.rounded(mask) if inpaint.hard else mask


def _doubled(mask: Mask) -> Mask:
    """The soft border moved outside, so that all that was masked is new."""
    return np.minimum(mask * 2, 1).astype(np.float32)


def _resized_mask(mask: Mask, size: Size, params: Image) -> Mask:
    """The mask as the picture is resized."""
    shades = np.repeat(np.rint(mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    found = masks.resized(shades, *size, "stretch" if params.resize == "latent" else params.resize)
    return (found[..., 0].astype(np.float32) / 255).astype(np.float32)


def _at(mask: Mask, size: Size) -> Mask:
    image = Pil.fromarray(mask, mode="F").resize((size.width, size.height), Pil.Resampling.BILINEAR)
    return np.clip(np.asarray(image, dtype=np.float32), 0, 1)
