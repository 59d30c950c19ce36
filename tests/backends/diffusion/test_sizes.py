"""Which size is drawn for which size that was asked for."""

from typing import Any

import pytest

from velesio.backends.diffusion.sizes import Size, planned, shaped
from velesio.errors import BadRequest
from velesio.jobs import Hires


def plan(width: int, height: int, hires: Hires | None = None, **fields: Any) -> Any:
    return planned(width, height, hires, **({"native": 512, "factor": 8, "most": 2048**2, "enlarge": "auto"} | fields))


@pytest.mark.parametrize(
    ("asked", "native", "drawn", "result"),
    [
        ((512, 512), 512, (512, 512), (512, 512)),
        ((515, 770), 512, (512, 768), (512, 768)),
        ((512, 512), 64, (64, 64), (512, 512)),
        ((64, 64), 64, (64, 64), (64, 64)),
        ((768, 512), 64, (80, 56), (768, 512)),
        ((32, 32), 64, (32, 32), (32, 32)),
    ],
)
def test_drawn_sizes(asked: Any, native: int, drawn: Any, result: Any) -> None:
    """Whole latents; small models draw at their own size, in the shape that was asked for."""
    found = plan(*asked, native=native)
    assert (found.drawn, found.result) == (drawn, result)
    assert found.enlarged == (drawn != result)


@pytest.mark.parametrize(
    ("hires", "second", "covered"),
    [
        (Hires(2.0), (1024, 1024), None),
        (Hires(1.3), (664, 664), None),
        (Hires(width=768), (768, 768), None),
        (Hires(height=640), (640, 640), None),
        (Hires(width=1024, height=768), (1024, 768), (1024, 1024)),
    ],
)
def test_second_passes(hires: Hires, second: Any, covered: Any) -> None:
    """By the scale, by one side in the same shape, by both covered and cut."""
    found = plan(512, 512, hires)
    assert (found.second, found.covered, found.result) == (second, covered, second)
    assert found.asked == Size(512, 512)


def test_a_small_models_second_pass() -> None:
    """Keeps its relation to the first, and the result the size that was asked for."""
    found = plan(512, 512, Hires(2.0), native=64)
    assert (found.drawn, found.second, found.result) == ((64, 64), (128, 128), (1024, 1024))


@pytest.mark.parametrize("width", [100_000, 4])
def test_limits(width: int) -> None:
    """Too large and too small sizes are refused with the limit."""
    with pytest.raises(BadRequest, match=r"4194304|at least 8"):
        plan(width, 512)
    with pytest.raises(BadRequest, match="4194304"):
        plan(512, 512, Hires(16.0))


def test_enlarging_is_an_option() -> None:
    """`never` draws whatever is asked for, `always` enlarges large models' pictures too."""
    assert plan(512, 512, native=64, enlarge="never").drawn == (512, 512)
    assert plan(1024, 1024, enlarge="always").drawn == (512, 512)


@pytest.mark.parametrize(
    ("like", "native", "size"),
    [
        ((512, 512), 512, (512, 512)),
        ((96, 64), 64, (72, 48)),
        ((4000, 3000), 512, (584, 440)),
        ((1, 4000), 64, (8, 4040)),
        ((10, 10), 64, (64, 64)),
    ],
)
def test_a_size_in_the_shape_of_another(like: Any, native: int, size: Any) -> None:
    """Whole latents, no more pixels than the model was made for, unless a side is as short as can be."""
    assert shaped(Size(*like), native, 8) == size
