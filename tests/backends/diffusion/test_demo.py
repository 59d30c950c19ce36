"""The demo checkpoint that ships: it follows prompts, and what can be put onto it works. All by numbers over pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.backends.conformance import Subject
from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from training.drawing import Scene, draw
from training.evaluation import held_out_prompts, judge
from training.reading import read
from velesio.backends.base import Catalogue
from velesio.backends.diffusion import backend
from velesio.backends.diffusion.discovery import DEMO_FOLDER
from velesio.jobs import Adapter, Completed, Control, Image

ASKED = 100
AT_LEAST = 90
SIDE = 64


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = backend(Catalogue(models_dir=tmp_path_factory.mktemp("models"), options={"slots": 16}))
    (card,) = made.models()
    studio = Studio(Subject(made, card, lambda number: Image(f"{number}"), Image("endless", steps=150)))
    yield studio
    studio.engine.close()


def painted(studio: Studio, *jobs: Image) -> list[Any]:
    """The pictures of jobs that run together."""
    pictures = []
    for first in range(0, len(jobs), 16):
        finals = studio.finish(*[studio.start(job) for job in jobs[first : first + 16]])
        assert all(isinstance(final, Completed) for final in finals), finals
        pictures += [tiny.pixels(final.result.pictures[0]).astype(np.uint8) for final in finals]
    return pictures


def job(prompt: str, seed: int = 1, **fields: Any) -> Image:
    plain: dict[str, Any] = {"width": SIDE, "height": SIDE, "steps": 20, "cfg": 4.0, "sampler": "DPM++ 2M Karras"}
    return Image(prompt, seed=seed, **(plain | fields))


def png(scene: Scene) -> bytes:
    return tiny.png(np.asarray(draw(scene)))


def apart(one: Any, other: Any) -> float:
    """Mean difference of pixels."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_it_is_small_enough_to_ship() -> None:
    """The checkpoint, and all that is beside it."""
    assert (DEMO_FOLDER / "velesio-demo.safetensors").stat().st_size <= 12e6
    assert sum(path.stat().st_size for path in DEMO_FOLDER.rglob("*.safetensors")) <= 14e6


def test_it_follows_captions_that_it_never_saw(demo: Studio) -> None:
    """Of 100 held-out captions, 90 or more have the right form in the right colour."""
    asked = held_out_prompts(ASKED)
    pictures = painted(demo, *[job(prompt, seed) for seed, (_, prompt) in enumerate(asked)])
    score = judge(asked, np.stack(pictures))
    assert score.both >= AT_LEAST, (str(score), score.wrong)


def test_the_style_moves_pictures_the_more_the_heavier_it_is(demo: Studio) -> None:
    """At 0 nothing changes; the picture moves away by its weight; at 1 the middle of a form is the background."""
    plain, none, half, whole = painted(
        demo,
        job("a red circle"),
        *[job("a red circle", adapters=(Adapter("outline", weight, weight),)) for weight in (0.0, 0.5, 1.0)],
    )
    assert apart(plain, none) < 0.01
    assert 1 < apart(plain, half) < apart(plain, whole)
    middle, corner = whole[24:40, 24:40].mean(axis=(0, 1)), whole[:4, :4].mean(axis=(0, 1))
    assert np.abs(middle - corner).max() < 40


def test_edges_steer_where_the_form_is(demo: Studio) -> None:
    """With the edges of a form at the left or at the right, the form is there, in the colour that was asked for."""
    for position in ("left", "right"):
        shown = png(Scene("heart", "gray", size="small", position=position))
        unit = Control(model="velesio-demo-canny", image=shown, module="canny", resolution=SIDE)
        (picture,) = painted(demo, job("a red heart", controls=(unit,)))
        seen = read(picture)
        assert seen is not None
        assert (seen.colour, seen.position) == ("red", position)


def test_the_word_of_the_embedding_makes_night(demo: Studio) -> None:
    """White on black, where the form alone is drawn on paper."""
    day, night = painted(demo, job("a star"), job("a star, night"))
    assert day[:3].mean() > 150
    assert night[:3].mean() < 60
    assert night[28:36, 28:36].mean() > 170


@pytest.mark.parametrize(
    ("shown", "prompt"),
    [
        (Scene("star", "blue", size="small", position="left"), "a blue diamond"),
        (Scene("circle", "red", size="small", position="left"), "a red star"),
        (Scene("heart", "red", size="small", position="right"), "a pink heart"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.position,
)
def test_a_weak_change_keeps_the_layout_and_a_strong_one_does_not(demo: Studio, shown: Scene, prompt: str) -> None:
    """A picture made anew at strength 0.3 has its form where it was; at 0.9 in the middle, where the prompt alone puts
    it. What it shows follows the prompt either way: this small model listens well."""
    init = (png(shown),)
    weak, strong = painted(demo, *[job(prompt, init=init, denoising=share) for share in (0.3, 0.9)])
    kept, made = read(weak), read(strong)
    assert kept is not None
    assert made is not None
    assert (kept.position, made.position) == (shown.position, "centre")
    assert apart(weak, tiny.pixels(init[0])) < apart(strong, tiny.pixels(init[0]))
