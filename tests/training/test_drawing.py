"""Drawing scenes, and reading them back."""

import numpy as np
import pytest

from training.captions import random_scene
from training.drawing import COLOURS, PAPER, SIZES, SLATE, STYLES, Scene, background_of, draw, places
from training.forms import FORMS
from training.pictures import captioned, mixed
from training.reading import read


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("colour", ["red", "white", "black", "green"])
def test_what_was_drawn_is_read(form, colour):
    """Each form on two backgrounds: the nearest template is its own."""
    for background in (None, "purple"):
        seen = read(np.asarray(draw(Scene(form, colour, background))))
        assert (seen.form, seen.colour, seen.count) == (form, colour, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("position", ["centre", "left", "right", "top", "bottom"])
def test_size_and_place_are_read(size, position):
    """A large form stays in the middle as far as the picture's border lets it."""
    seen = read(np.asarray(draw(Scene("square", "blue", size=size, position=position))))
    assert seen.size == size
    assert seen.position == position or size != "small"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_counts_are_read(count):
    """Forms of one scene do not touch."""
    assert read(np.asarray(draw(Scene("heart", "red", count=count)))).count == count


def test_random_scenes_with_jitter_are_read():
    """Nearly all: small details of small forms may be lost."""
    random = np.random.default_rng(3)
    scenes = [random_scene(random) for _ in range(120)]
    seen = [read(np.asarray(draw(scene, jitter=random))) for scene in scenes]
    right = [(each.form, each.colour) == (scene.form, scene.colour) for scene, each in zip(scenes, seen, strict=True)]
    assert sum(right) >= 114


def test_an_empty_picture_shows_nothing():
    """No form where there is none."""
    assert read(np.full((64, 64, 3), 200, np.uint8)) is None


def test_the_same_seed_draws_the_same_pictures():
    """Data sets are made anew rather than stored."""
    assert all(
        (a[2] == b[2]).all() and a[1] == b[1] for a, b in zip(captioned(5, 64, 1), captioned(5, 64, 1), strict=True)
    )
    assert (mixed(8, 32, 4) == mixed(8, 32, 4)).all()
    assert (mixed(8, 32, 4) != mixed(8, 32, 5)).any()


@pytest.mark.parametrize("style", STYLES)
def test_styles_have_the_size_and_the_background(style):
    """Any side; corners show the background."""
    image = np.asarray(draw(Scene("star", "green", "pink"), 48, style=style))
    assert image.shape == (48, 48, 3)
    assert image[0, 0].tolist() == list(COLOURS["pink"])


def test_without_a_background_light_forms_lie_on_slate_and_others_on_paper():
    """So that white shows."""
    assert background_of(Scene("moon", "white")) == SLATE
    assert background_of(Scene("moon", "black")) == PAPER


def test_moved_forms_stay_inside():
    """With and without jitter."""
    random = np.random.default_rng(0)
    for _ in range(200):
        scene = random_scene(random)
        for place in places(scene, random):
            assert abs(place.x) + place.half < 1.1
            assert abs(place.y) + place.half < 1.1
