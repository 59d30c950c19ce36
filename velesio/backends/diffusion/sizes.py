"""Sizes: what was asked for, what is drawn, and what the second pass makes of it. Pure; all in pixels."""

import math
from typing import Literal, NamedTuple

from velesio.errors import BadRequest
from velesio.jobs import Hires

_SMALL = 256
"""Models made for less than this show nothing sensible beyond their own size."""
_LEAST = 8


class Size(NamedTuple):
    """Width and height."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """All of them."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Sizes(NamedTuple):
    """Of one picture."""

    drawn: Size
    """By the first pass."""
    second: Size | None
    """By the second; None: there is none."""
    covered: Size | None
    """What the second pass is cut from, if both its sides were asked for."""
    result: Size
    """What the job gets."""
    asked: Size
    """What it asked for, before any second pass."""

    @property
    def enlarged(self) -> bool:
        """Whether the result is larger than what is drawn."""
        return self.result != (self.second or self.drawn)


def planned(
    width: int,
    height: int,
    hires: Hires | None,
    *,
    native: int,
    factor: int,
    most: int,
    enlarge: Literal["auto", "always", "never"],
) -> Sizes:
    """The sizes of a request for a model made for `native` by `native` pixels, whose latents have `factor` pixels.

    Raises:
        BadRequest: if a side is too short, or a picture has more than `most` pixels.
    """
    asked = checked(Size(width, height), most)
    whole = _floored(asked, factor)
    second = target(whole, hires, factor) if hires else None
    cover = covering(whole, hires) if hires else None
    result = _floored(checked(second or whole, most), factor)
    small = enlarge == "always" or (enlarge == "auto" and native < _SMALL)
    if not small or whole.pixels <= native**2:
        return Sizes(whole, second, _rounded(cover, factor), result, whole)
    share = native / math.sqrt(whole.pixels)
    drawn = _scaled(whole, share, factor)
    return Sizes(
        drawn,
        _scaled(second, share, factor) if second else None,
        _scaled(cover, share, factor) if cover else None,
        result,
        whole,
    )


def checked(size: Size, most: int) -> Size:
    """The size, if it is one that can be drawn.

    Raises:
        BadRequest: with the limit.
    """
    if min(size) < _LEAST:
        raise BadRequest(f"a picture of {size} pixels is too small; sides have at least {_LEAST}", param="width")
    if size.pixels > most:
        side = int(math.sqrt(most))
        raise BadRequest(
            f"a picture of {size} pixels is too large; this model draws at most {most} pixels ({side}x{side}), "
            "as max_pixels in its configuration says",
            param="width" if size.width >= size.height else "height",
        )
    return size


def shaped(like: Size, native: int, factor: int) -> Size:
    """Hardly fewer pixels than the `native` by `native` that a model was made for, in the shape of another size."""
    share = native / math.sqrt(like.pixels)
    return _floored(Size(int(like.width * share), int(like.height * share)), factor)


def target(first: Size, hires: Hires, factor: int) -> Size:
    """What the second pass draws: by the scale, by one side, or by both."""
    width, height = hires.width, hires.height
    if not width and not height:
        found = Size(int(first.width * hires.scale), int(first.height * hires.scale))
    elif not height:
        found = Size(width, width * first.height // first.width)
    elif not width:
        found = Size(height * first.width // first.height, height)
    else:
        found = Size(width, height)
    return _floored(found, factor)


def covering(first: Size, hires: Hires) -> Size | None:
    """With both sides asked for: the size in the first one's shape that covers them, before it is cut."""
    if not (hires.width and hires.height):
        return None
    if first.width / first.height < hires.width / hires.height:
        return Size(hires.width, hires.width * first.height // first.width)
    return Size(hires.height * first.width // first.height, hires.height)


def _floored(size: Size, factor: int) -> Size:
    return Size(*(max(side // factor, 1) * factor for side in size))


def _rounded(size: Size | None, factor: int) -> Size | None:
    return None if size is None else Size(*(max(math.ceil(side / factor), 1) * factor for side in size))


def _scaled(size: Size, share: float, factor: int) -> Size:
    return Size(*(max(round(side * share / factor), 1) * factor for side in size))
