"""Plots: A1111's scripts that draw one request several times and show the pictures as a table: prompt matrix and x/y/z
plot. Here they only say what each cell asks for; pure."""

import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from velesio.errors import Unprocessable
from velesio.http.sdapi.axes import Axis, of_tab

MATRIX, XYZ = "prompt matrix", "x/y/z plot"
MOST_CELLS = 100
"""Of one plot."""
_MOST_PARTS = 8
_SEEDS = 4294967294
_DELIMITERS = {"comma": ", ", "space": " "}


class Cell(NamedTuple):
    """One picture of a plot: the request's fields and options as they are for it."""

    values: dict[str, Any]
    options: dict[str, Any]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """How pictures stand beside each other."""

    columns: int
    rows: int
    sheets: int = 1
    """Tables of `columns` times `rows`, which stand beside each other."""
    over: tuple[str, ...] = ()
    """Titles of the columns."""
    beside: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    """Titles of the sheets."""
    margin: int = 0
    pictures: bool = True
    """Whether the single pictures are in the answer as well."""
    parts: bool = False
    """Whether the single sheets are."""
    paper: str = "#ffffff"
    ink: str = "#000000"
    form: Literal["png", "jpeg", "webp"] = "png"
    quality: int = 100


class Plot(NamedTuple):
    """What a script makes of a request."""

    cells: tuple[Cell, ...]
    table: Table


def planned(kind: str, script: str, cell: Cell) -> Plot:
    """The plot that a script asks for.

    Raises:
        Unprocessable: its arguments cannot be read.
        Unsupported: an axis is of something that is not there.
    """
    single = Cell(cell.values | {"batch_size": 1, "n_iter": 1}, cell.options)
    args = single.values["script_args"]
    return _matrix(single, args) if script == MATRIX else _xyz(kind, single, args)


def wrong(what: str) -> Unprocessable:
    """The refusal of a script's arguments."""
    return Unprocessable(f"script_args: {what}", param="script_args")


def argument(args: Sequence[Any], place: int, default: Any) -> Any:
    """One of them; None and what is left out are the default."""
    return default if place >= len(args) or args[place] is None else args[place]


def margin_of(args: Sequence[Any], place: int) -> int:
    """Pixels between the pictures."""
    found = argument(args, place, 0)
    if not isinstance(found, int | float) or not 0 <= found <= 500:
        raise wrong(f"the margin, at place {place}, lies between 0 and 500 pixels")
    return int(found)


# prompt matrix


def _matrix(cell: Cell, args: Sequence[Any]) -> Plot:
    """Every selection of the parts behind the first `|` of a prompt, each with the first part."""
    cell = _seeded(cell)
    field = _chosen(args, 2, {"positive": "prompt", "negative": "negative_prompt"}, "positive")
    delimiter = _chosen(args, 3, _DELIMITERS, "comma")
    first, *parts = (part.strip() for part in cell.values[field].split("|"))
    if len(parts) > _MOST_PARTS:
        raise wrong(f"the prompt has {len(parts)} variable parts; at most {_MOST_PARTS} can be told apart in a table")
    cells = []
    for index in range(2 ** len(parts)):
        some = [part for place, part in enumerate(parts) if index & 1 << place]
        whole = [*some, first] if argument(args, 0, False) else [first, *some]
        seed = cell.values["seed"] + (index if argument(args, 1, False) else 0)
        text = delimiter.join(part for part in whole if part)
        cells.append(Cell(cell.values | {field: text, "seed": seed}, cell.options))
    columns = 2 ** (len(parts) - len(parts) // 2)
    beside = parts[len(parts) - len(parts) // 2 :]
    return _limited(
        cells,
        Table(
            columns=columns,
            rows=len(cells) // columns,
            over=_selections(parts[: len(parts) - len(parts) // 2]),
            beside=_selections(beside),
            margin=margin_of(args, 4),
        ),
    )


def _selections(parts: Sequence[str]) -> tuple[str, ...]:
    """A title for each selection."""
    return tuple(
        ", ".join(part for place, part in enumerate(parts) if index & 1 << place) for index in range(2 ** len(parts))
    )


def _chosen(args: Sequence[Any], place: int, words: Mapping[str, str], default: str) -> str:
    word = argument(args, place, default)
    if not isinstance(word, str) or word not in words:
        raise wrong(f"at place {place} expected one of {', '.join(words)}")
    return words[word]


# x/y/z plot


class _Along(NamedTuple):
    """An axis and what stands along it."""

    axis: Axis
    points: tuple[Any, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """Of the points; empty: there is nothing to tell."""
        return tuple(self.axis.title(point) for point in self.points) if self.axis.label != "Nothing" else ()


def _xyz(kind: str, cell: Cell, args: Sequence[Any]) -> Plot:
    by_text = bool(argument(args, 17, False))
    x, y, z = (_along(kind, args, 3 * number, by_text=by_text) for number in range(3))
    if len(x.points) * len(y.points) * len(z.points) > MOST_CELLS:
        raise wrong(f"a plot has {MOST_CELLS} pictures at most")
    if not argument(args, 12, False):
        cell, x, y, z = _seeded(cell), *(_fixed(each) for each in (x, y, z))
    places = itertools.product(*(range(len(each.points)) for each in (z, y, x)))
    cells = [_at(cell, args, (x, y, z), place[::-1]) for place in places]
    legend = bool(argument(args, 9, True))
    return _limited(
        cells,
        Table(
            columns=len(x.points),
            rows=len(y.points),
            sheets=len(z.points),
            over=x.titles if legend else (),
            beside=y.titles if legend else (),
            above=z.titles if legend else (),
            margin=margin_of(args, 16),
            pictures=bool(argument(args, 10, False)),
            parts=bool(argument(args, 11, False)),
        ),
    )


def _along(kind: str, args: Sequence[Any], place: int, *, by_text: bool) -> _Along:
    axis = _axis(kind, argument(args, place, 0), place)
    listed = argument(args, place + 2, [])
    text = str(argument(args, place + 1, ""))
    if axis.choices and isinstance(listed, list) and listed and not by_text:
        text = ",".join('"{}"'.format(str(each).replace('"', '""')) for each in listed)
    return _Along(axis, tuple(axis.points(text)))


def _axis(kind: str, named: Any, place: int) -> Axis:
    there = of_tab(kind)
    if isinstance(named, int) and not isinstance(named, bool) and 0 <= named < len(there):
        return there[named]
    for axis in there:
        if isinstance(named, str) and axis.label.lower() == named.strip().lower():
            return axis
    raise wrong(f"at place {place} expected an axis, 0 to {len(there) - 1} or its name: see /sdapi/v1/script-info")


def _fixed(along: _Along) -> _Along:
    """Seeds that are left open, drawn once for all cells."""
    if along.axis.label not in {"Seed", "Var. seed"}:
        return along
    return along._replace(points=tuple(_seed() if point < 0 else point for point in along.points))


def _seeded(cell: Cell) -> Cell:
    """With one seed for all cells, and one for their variations."""
    drawn = {name: _seed() for name in ("seed", "subseed") if cell.values[name] < 0}
    return cell._replace(values=cell.values | drawn)


def _seed() -> int:
    return secrets.randbelow(_SEEDS)


def _at(cell: Cell, args: Sequence[Any], axes: Sequence[_Along], places: Sequence[int]) -> Cell:
    """The cell at places of x, y and z."""
    values, options = dict(cell.values), dict(cell.options)
    shift, stride = 0, 1
    for number, (along, place) in enumerate(zip(axes, places, strict=True)):
        along.axis.change(values, options, along.points[place], along.points[0])
        if argument(args, 13 + number, False):
            shift += place * stride
            stride *= len(along.points)
    if values["seed"] >= 0:
        values["seed"] += shift
    return Cell(values, options)


def _limited(cells: Sequence[Cell], table: Table) -> Plot:
    if len(cells) > MOST_CELLS:
        raise wrong(f"a plot has {MOST_CELLS} pictures at most; this one would have {len(cells)}")
    return Plot(tuple(cells), table)


def grid(count: int, *, rows: int = -1) -> Table:
    """A table for pictures that belong to no script. Without a number of rows: as many as leave no gap, at most as
    many as columns."""
    if rows < 1:
        rows = next(rows for rows in range(int(count**0.5), 0, -1) if count % rows == 0)
    return Table(columns=-(-count // rows), rows=rows)
