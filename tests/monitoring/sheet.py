"""A sheet: the series of all panels, each as a small picture, to see at a glance whether their shapes make sense."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw

from tests.monitoring.dashboards import Query
from tests.monitoring.stack import Series

WIDTH, HEIGHT, COLUMNS = 240, 110, 6
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#14b8a6", "#ec4899", "#84cc16")


def draw(found: Sequence[tuple[Query, Sequence[Series]]], path: Path) -> None:
    """Writes a PNG with one picture for each panel."""
    panels = [list(group) for _, group in groupby(found, key=lambda one: (one[0].dashboard, one[0].panel))]
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    for number, panel in enumerate(panels):
        _panel(sheet, (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT), panel)
    sheet.save(path, optimize=True)


def _panel(sheet: Image.Image, corner: tuple[int, int], panel: Sequence[tuple[Query, Sequence[Series]]]) -> None:
    pen, (left, top) = ImageDraw.Draw(sheet), corner
    lines = [one.numbers for _, series in panel for one in series]
    highest = max((max(line) for line in lines if line), default=0.0)
    pen.rectangle((left + 2, top + 2, left + WIDTH - 3, top + HEIGHT - 3), outline="#d4d4d8")
    pen.text((left + 8, top + 6), f"{panel[0][0].dashboard}: {panel[0][0].panel}", fill="#18181b")
    pen.text((left + 8, top + 20), f"highest {highest:.4g} {panel[0][0].unit}, {len(lines)} series", fill="#71717a")
    for number, line in enumerate(lines):
        step = (WIDTH - 20) / max(1, len(line) - 1)
        scale = (HEIGHT - 48) / (highest or 1.0)
        points = [(left + 10 + step * i, top + HEIGHT - 10 - value * scale) for i, value in enumerate(line)]
        colour = COLOURS[number % len(COLOURS)]
        if len(points) > 1:
            pen.line(points, fill=colour, width=1)
        else:
            pen.point(points, fill=colour)
