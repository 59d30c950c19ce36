"""Params of jobs that make pictures of given ones, beside those that draw."""

from typing import Literal

import msgspec


class Enlarge(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="enlarge"):
    """Enlarge pictures as they are; nothing is drawn anew."""

    pictures: tuple[bytes, ...]
    """Files."""
    upscaler: str = "None"
    """"None": the pictures stay as they are."""
    second: str = "None"
    """Another one, whose result is laid over the first one's."""
    share: float = 0.0
    """How much of the second one is seen, 0 to 1."""
    scale: float = 2.0
    """How much larger; sides become multiples of 8."""
    width: int = 0
    """Pixels that are covered, in place of `scale`; 0, as `height` then is: by `scale`."""
    height: int = 0
    crop: bool = True
    """Whether what reaches beyond `width` and `height` is cut off."""
    tile: int = 192
    """Pixels of the parts in which networks are shown a picture; 0: as a whole."""
    overlap: int = 8


class Detect(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="detect"):
    """Show what a ControlNet would be shown of pictures."""

    pictures: tuple[bytes, ...]
    """Files."""
    module: str = "none"
    """As the fields of `Control` that follow."""
    resolution: int = 512
    threshold_a: float = -1.0
    threshold_b: float = -1.0
    masks: tuple[bytes, ...] = ()
    """None, or one for each picture; white is hidden by modules that hide something."""


class Sheet(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="sheet"):
    """Arrange pictures on one, row by row."""

    pictures: tuple[bytes, ...]
    """Files; an empty one leaves its place empty."""
    columns: int
    margin: int = 0
    """Pixels between them."""
    over: tuple[str, ...] = ()
    """Titles of the columns."""
    beside: tuple[str, ...] = ()
    """Titles of the rows."""
    paper: str = "#ffffff"
    """Colours as `#rrggbb`, or their names in CSS."""
    ink: str = "#000000"
    form: Literal["png", "jpeg", "webp"] = "png"
    """Of the file."""
    quality: int = 100
    """Of JPEG and WebP files, 0 to 100."""


ImageAside = Enlarge | Detect | Sheet
"""Their result is an `ImageResult`."""
