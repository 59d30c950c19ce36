"""Plots: which pictures A1111's scripts that draw tables ask for, and in what order they stand."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.conftest import ANYTHING
from velesio.errors import BadRequest, Unprocessable, Unsupported
from velesio.http.sdapi.axes import AXES, Axis, of_tab
from velesio.http.sdapi.fields import BY_KIND, Kind
from velesio.http.sdapi.plots import grid
from velesio.http.sdapi.requests import Asked, read
from velesio.http.sdapi.styles import Style

BASE = {"prompt": "a fox", "seed": 1, "subseed": 2, "steps": 4, "enable_hr": True}
STYLES = {"ink": Style("ink", "ink drawing")}


def asked(script: str, args: list[Any], kind: Kind = "txt2img", **fields: Any) -> Asked:
    return read(kind, BASE | {"script_name": script, "script_args": args} | fields, {}, STYLES)


def place(label: str, kind: str = "txt2img") -> int:
    return [axis.label for axis in of_tab(kind)].index(label)


def plot(
    x: tuple[str, str], y: tuple[str, str] = ("Nothing", ""), z: tuple[str, str] = ("Nothing", ""), **rest: Any
) -> Any:
    args: list[Any] = [part for label, text in (x, y, z) for part in (place(label), text, [])]
    more = {"legend": True, "lone": False, "parts": False, "open": False, "vx": False, "vy": False, "vz": False}
    return asked("X/Y/Z plot", [*args, *(more | rest).values()])


def test_a_matrix_has_every_selection() -> None:
    """The first part is in all of them; the table's titles say which others."""
    found = asked("prompt matrix", [], prompt="a fox | red |in snow")
    assert [each.prompt for each in found.params] == ["a fox", "a fox, red", "a fox, in snow", "a fox, red, in snow"]
    assert [each.seed for each in found.params] == [1, 1, 1, 1]
    assert found.table is not None
    assert (found.table.columns, found.table.rows) == (2, 2)
    assert (found.table.over, found.table.beside) == (("", "red"), ("", "in snow"))
    assert found.table.pictures


def test_what_a_matrix_may_vary() -> None:
    """Parts first, other seeds, the negative prompt, blanks between, margins."""
    found = asked("prompt matrix", [True, True, "negative", "space", 6], negative_prompt="dogs|cats")
    assert [each.negative_prompt for each in found.params] == ["dogs", "cats dogs"]
    assert [each.prompt for each in found.params] == ["a fox", "a fox"]
    assert [each.seed for each in found.params] == [1, 2]
    assert found.table is not None
    assert found.table.margin == 6
    plain = asked("prompt matrix", [])
    assert len(plain.params) == 1


def test_a_plot_runs_along_x_then_y_then_z() -> None:
    """Each cell has its own value of each axis; titles name them."""
    found = plot(("Steps", "2-4 (+2)"), ("CFG Scale", "1.5, 7"), ("Sampler", "Euler,DPM++ 2M"))
    cells = [(each.steps, each.cfg, each.sampler) for each in found.params]
    assert cells == [(steps, cfg, name) for name in ("Euler", "DPM++ 2M") for cfg in (1.5, 7.0) for steps in (2, 4)]
    table = found.table
    assert (table.columns, table.rows, table.sheets) == (2, 2, 2)
    assert table.over == ("Steps: 2", "Steps: 4")
    assert table.beside == ("CFG Scale: 1.5", "CFG Scale: 7.0")
    assert table.above == ("Sampler: Euler", "Sampler: DPM++ 2M")
    assert not table.pictures
    assert {each.seed for each in found.params} == {1}


@pytest.mark.parametrize(
    ("label", "text", "read_as"),
    [
        ("Seed", "1, 3,5", [1, 3, 5]),
        ("Seed", "1-3", [1, 2, 3]),
        ("Seed", "3-1", [3, 2, 1]),
        ("Seed", "1-10 [4]", [1, 4, 7, 10]),
        ("CFG Scale", "0-1 (+0.5)", [0.0, 0.5, 1.0]),
        ("CFG Scale", "1-2 [3], 9", [1.0, 1.5, 2.0, 9.0]),
        ("CFG Scale", "-1", [-1.0]),
        ("Prompt S/R", '"a, b", c', ["a, b", "c"]),
        ("Prompt order", "a,b", [("a", "b"), ("b", "a")]),
        ("Always discard next-to-last sigma", "true,False", [True, False]),
        ("Nothing", "whatever", [""]),
    ],
)
def test_values_along_an_axis(label: str, text: str, read_as: list[Any]) -> None:
    """Lists with quotes, ranges with steps, ranges with counts."""
    found = next(axis for axis in AXES if axis.label == label).points(text)
    assert found == read_as


@pytest.mark.parametrize(
    ("label", "text"),
    [("Steps", "many"), ("Steps", ""), ("Steps", "1-1000"), ("CFG Scale", "1-2 [0]"), ("Size", "64"),
     ("Steps", "1-5 (+0)"), ("SGM noise multiplier", "maybe"), ("Steps", "1-9 (-1)"), ("Prompt order", "a,b,c,d,e,f")],
)  # fmt: skip
def test_values_that_are_none(label: str, text: str) -> None:
    """Are refused by the axis's name."""
    with pytest.raises(Unprocessable, match=label):
        next(axis for axis in AXES if axis.label == label).points(text)


POINTS = {"Prompt S/R": "fox,cat", "Prompt order": "a,fox", "Size": "32x64", "Styles": "ink", "Seed": "5",
          "Var. seed": "5", "VAE": "soft", "RNG source": "NV", "Checkpoint name": "other", "UniPC Order": "2",
          "Clip skip": "2", "Sampler": "Heun", "Hires sampler": "Heun", "Schedule type": "Karras",
          "Hires upscaler": "Lanczos", "Refiner checkpoint": "other"}  # fmt: skip
ABSENT = {"Image CFG Scale", "Face restore", "FP8 mode"}
IDLE = {("img2img", "Token merging ratio high-res"), ("txt2img", "Nothing"), ("img2img", "Nothing")}
"""Axes that stand in a list for their place alone: there is no second pass of img2img."""
OTHERWISE = {
    "img2img": {"init_images": ["b25l"], "mask": "b25l"},
    "txt2img": {"refiner_checkpoint": "x"},
}


@pytest.mark.parametrize(("kind", "axis"), [(kind, axis) for kind in BY_KIND for axis in of_tab(kind)])
def test_each_axis_changes_its_pictures(kind: Kind, axis: Axis) -> None:
    """What is listed changes the job; what is not there is refused; fields and options have the names that they have
    elsewhere."""
    args = [axis.label.upper(), "", [], 0, "", [], 0, "", []]
    if axis.label in ABSENT:
        with pytest.raises(Unsupported, match=axis.label):
            asked("x/y/z plot", args, kind, **OTHERWISE[kind])
        return
    args[1] = POINTS.get(axis.label, "true" if axis.kind is bool else "3" if axis.kind is int else "0.25")
    found = asked("x/y/z plot", args, kind, **OTHERWISE[kind])
    plain = asked("x/y/z plot", [0], kind, **OTHERWISE[kind])
    same = (found.params[-1], found.models[-1]) == (plain.params[0], plain.models[0])
    assert same == ((kind, axis.label) in IDLE)


def test_clients_may_choose_from_a_list() -> None:
    """Where an axis has one, unless they say that they write."""
    args: list[Any] = [place("Sampler"), "Euler", ["Heun", "LMS"], 0, "", [], 0, "", []]
    assert [each.sampler for each in asked("x/y/z plot", args).params] == ["Heun", "LMS"]
    by_text = [*args, True, False, False, False, False, False, False, 0, True]
    assert [each.sampler for each in asked("x/y/z plot", by_text).params] == ["Euler"]


def test_seeds_of_a_plot() -> None:
    """Drawn once for all cells, or for each; or counted on along the axes that say so."""
    drawn = asked("x/y/z plot", [place("Steps"), "1-3", []], seed=-1).params
    assert len({each.seed for each in drawn}) == 1
    opened = asked("x/y/z plot", [place("Steps"), "1-4", [], 0, "", [], 0, "", [], True, False, False, True], seed=-1)
    assert len({each.seed for each in opened.params}) > 1
    counted = plot(("Steps", "1-2"), ("CFG Scale", "1-3"), vx=True, vy=True)
    assert [each.seed for each in counted.params] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("script", "args", "said"),
    [
        ("x/y/z plot", [99], "expected an axis"),
        ("x/y/z plot", ["Steppes"], "expected an axis"),
        ("x/y/z plot", ["Steps", "1-50", [], "CFG Scale", "1-3"], "100 pictures at most"),
        ("x/y/z plot", ["Prompt S/R", "dog,cat"], "did not find 'dog'"),
        ("x/y/z plot", ["Prompt order", "dog,cat"], "did not find"),
        ("x/y/z plot", [0] * 16 + [999], "margin"),
        ("prompt matrix", [False, False, "both"], "positive, negative"),
        ("prompt matrix", [False, False, "positive", "tab"], "comma, space"),
    ],
)
def test_arguments_that_cannot_be_read(script: str, args: list[Any], said: str) -> None:
    """Say what would be right."""
    with pytest.raises(Unprocessable, match=said):
        asked(script, args)
    with pytest.raises(Unprocessable, match="variable parts"):
        asked("prompt matrix", [], prompt="|".join("abcdefghijk"))


@pytest.mark.parametrize(("count", "shape"), [(2, (2, 1)), (4, (2, 2)), (6, (3, 2)), (7, (7, 1)), (12, (4, 3))])
def test_a_grid_leaves_no_gap(count: int, shape: tuple[int, int]) -> None:
    """And is never taller than wide."""
    found = grid(count)
    assert (found.columns, found.rows) == shape


@given(script=st.sampled_from(["prompt matrix", "x/y/z plot"]), args=st.lists(ANYTHING, max_size=18))
def test_no_arguments_break_the_reader(script: str, args: list[Any]) -> None:
    """They are read, or refused."""
    with contextlib.suppress(BadRequest):
        asked(script, args)
