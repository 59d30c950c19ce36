"""ControlNets steer pictures, in both forms of files, by weight, time, mode and place."""

import numpy as np
import pytest

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from velesio.backends.diffusion.controlnet import weights_of
from velesio.jobs import Control


@pytest.fixture(scope="module")
def square() -> bytes:
    shown = np.zeros((64, 64, 3), np.uint8)
    shown[16:48, 16:48] = 255
    return tiny.png(shown)


def control(square: bytes, **fields: object) -> tuple[Control, ...]:
    return (Control(**({"model": "edges", "image": square, "module": "canny"} | fields)),)


def test_both_forms_of_files_are_the_same(studio: Studio, square: bytes) -> None:
    """The original layout and diffusers' names give one picture, which is not that without a control."""
    plain = studio.picture()
    one, other = (studio.picture(controls=control(square, model=name)) for name in ("edges", "edges-diffusers"))
    assert (one == other).all()
    assert (one != plain).any()


def test_weight_and_time(studio: Studio, square: bytes) -> None:
    """Weight 0 and an empty span of time do nothing; more weight does more."""
    plain = studio.picture()
    assert (studio.picture(controls=control(square, weight=0.0)) == plain).all()
    assert (studio.picture(controls=control(square, start=0.95, end=0.96)) == plain).all()
    moved = [np.abs(studio.picture(controls=control(square, weight=weight)) - plain).mean() for weight in (0.3, 1.5)]
    assert moved[0] < moved[1]


def test_modes_areas_and_several_at_once(studio: Studio, square: bytes) -> None:
    """Each changes the picture in its own way."""
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    pictures = [
        studio.picture(controls=units).tobytes()
        for units in (
            control(square),
            control(square, mode="prompt"),
            control(square, mode="control"),
            control(square, mask=tiny.png(left)),
            control(square) + control(square, module="invert"),
        )
    ]
    assert len(set(pictures)) == len(pictures)


def test_maps_are_shown(studio: Studio, square: bytes) -> None:
    """What the preprocessor made is among the result's maps, unless it is not wanted."""
    result = studio.result(controls=control(square))
    assert len(result.maps) == 1
    shown = tiny.pixels(result.maps[0])
    assert set(np.unique(shown)) == {0, 255}
    assert studio.result(controls=control(square, show=False)).maps == ()


def test_the_given_picture_serves_a_control_without_one(studio: Studio, square: bytes) -> None:
    """In img2img; without any picture the job is refused."""
    found = studio.picture(init=(square,), controls=control(square, image=b""))
    assert (found == studio.picture(init=(square,), controls=control(square))).all()
    assert "needs a picture" in studio.refusal(controls=control(square, image=b"")).message


def test_unknown_names_are_refused(studio: Studio, square: bytes) -> None:
    """Models and preprocessors, with the nearest."""
    assert "edges" in studio.refusal(controls=control(square, model="edgs")).message
    assert "canny" in studio.refusal(controls=control(square, module="cany")).message


def test_soft_weights() -> None:
    """0.825 to the power of the distance from the middle, the middle at full weight."""
    assert weights_of(13, 1.0, soft=False) == (1.0,) * 13
    soft = weights_of(13, 2.0, soft=True)
    assert soft[12] == 2.0
    assert soft[0] == pytest.approx(2 * 0.825**12)
