"""The sheet: several pictures on one, in rows, with titles over the columns and beside the rows."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from velesio.backends.diffusion import canvas
from velesio.errors import BadRequest
from velesio.jobs import Sheet

_LEAST_FONT, _FONT_SHARE = 10, 25
"""The font's size in pixels: this share of a picture's sides together."""
_MOST_MARGIN = 4096

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Plan(NamedTuple):
    """Where things stand, in pixels."""

    columns: int
    rows: int
    width: int
    """Of one picture's place."""
    height: int
    margin: int
    left: int
    """Room for the titles of the rows."""
    top: int
    """Room for those of the columns."""

    @property
    def size(self) -> tuple[int, int]:
        """Of the sheet."""
        wide = self.left + self.columns * (self.width + self.margin) - self.margin
        return wide, self.top + self.rows * (self.height + self.margin) - self.margin

    def place(self, index: int) -> tuple[int, int]:
        """The upper left corner of a picture."""
        row, column = divmod(index, self.columns)
        return self.left + column * (self.width + self.margin), self.top + row * (self.height + self.margin)


def arranged(asked: Sheet, most: int) -> Image.Image:
    """The sheet.

    Raises:
        BadRequest: a file is no picture, there is none, or the sheet would have more than `most` pixels.
    """
    if asked.columns < 1 or not 0 <= asked.margin <= _MOST_MARGIN:
        raise BadRequest(f"a sheet has a column or more, and margins of 0 to {_MOST_MARGIN} pixels", param="columns")
    pictures = [canvas.on_background(canvas.read(file, "pictures")) if file else None for file in asked.pictures]
    known = [picture for picture in pictures if picture is not None]
    if not known:
        raise BadRequest("there is no picture to arrange", param="pictures")
    width, height = max(each.width for each in known), max(each.height for each in known)
    font = ImageFont.load_default(max(_LEAST_FONT, (width + height) // _FONT_SHARE))
    left = width * 3 // 4 if any(asked.beside) else 0
    top = max((_tall(wrapped(title, width, font), font) for title in asked.over), default=0)
    plan = Plan(asked.columns, -(-len(pictures) // asked.columns), width, height, asked.margin, left, top)
    if plan.size[0] * plan.size[1] > most:
        raise BadRequest(f"the sheet would have {plan.size[0]} x {plan.size[1]} pixels, and may have {most}")
    return _drawn(asked, plan, pictures, font)


def _drawn(asked: Sheet, plan: Plan, pictures: Sequence[Image.Image | None], font: Font) -> Image.Image:
    sheet = Image.new("RGB", plan.size, canvas.rgb(asked.paper, "paper"))
    pen, ink = ImageDraw.Draw(sheet), canvas.rgb(asked.ink, "ink")

    def write(text: str, across: int, down: int) -> None:
        pen.multiline_text((across, down), text, ink, font, anchor="mm", align="center")

    for column, title in enumerate(asked.over[: plan.columns]):
        write(wrapped(title, plan.width, font), plan.place(column)[0] + plan.width // 2, plan.top // 2)
    for row, title in enumerate(asked.beside[: plan.rows]):
        write(wrapped(title, plan.left, font), plan.left // 2, plan.place(row * plan.columns)[1] + plan.height // 2)
    for index, picture in enumerate(pictures):
        if picture is not None:
            sheet.paste(picture, plan.place(index))
    return sheet


def wrapped(text: str, width: int, font: Font) -> str:
    """A title in lines that are no wider than `width` pixels; words that are too long are cut into pieces."""
    letter = max(1.0, font.getlength("n"))
    longest = max(1, int(width / letter))
    lines = [""]
    for word in text.split():
        for piece in (word[begin : begin + longest] for begin in range(0, len(word), longest)):
            longer = f"{lines[-1]} {piece}".strip()
            if font.getlength(longer) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(piece)
    return "\n".join(lines)


def _tall(text: str, font: Font) -> int:
    """Pixels of a text, with a little room around it."""
    if not text:
        return 0
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font)
    return int(box[3] - box[1]) + 2 * _LEAST_FONT
