"""Fixtures of the image engine: one tiny checkpoint for the session, engines on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backends.conformance import Desk, Subject
from tests.backends.diffusion import tiny
from velesio.backends.base import Catalogue
from velesio.backends.diffusion import DiffusionBackend, backend
from velesio.jobs import Completed, Completion, Failed, Image, ImageResult


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one checkpoint, `tiny`."""
    place = tmp_path_factory.mktemp("models")
    tiny.write(place / "checkpoints" / "tiny.safetensors")
    return place


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny`, `other`, and a file of each kind that jobs may name."""
    place = tmp_path_factory.mktemp("furnished")
    tiny.write(place / "checkpoints" / "tiny.safetensors")
    tiny.furnish(place)
    return place


def found(place: Path, **options: object) -> DiffusionBackend:
    return backend(Catalogue(models_dir=place, options=options, demo=False))


def subject_of(place: Path, **options: object) -> Subject:
    made = found(place, **options)
    card = next(card for card in made.models() if card.name == "tiny")
    return Subject(
        backend=made,
        card=card,
        params=lambda number: Image(prompt=f"a fox {number}", steps=2, seed=number),
        endless=Image(prompt="on and on", steps=150, sampler="Heun"),
        too_much=Completion(prompt="text"),
        refusal="not_supported",
    )


class Studio(Desk):
    """A desk for pictures."""

    def result(self, prompt: str = "a fox", **fields: Any) -> ImageResult:
        """What a job gives, alone."""
        final = self.run(Image(prompt, **({"seed": 3, "steps": 5} | fields)))
        assert isinstance(final, Completed), final
        assert isinstance(final.result, ImageResult)
        return final.result

    def picture(self, prompt: str = "a fox", **fields: Any) -> Any:
        """Its first picture's pixels."""
        return tiny.pixels(self.result(prompt, **fields).pictures[0])

    def refusal(self, prompt: str = "a fox", **fields: Any) -> Failed:
        final = self.run(Image(prompt, **({"seed": 3, "steps": 5} | fields)))
        assert isinstance(final, Failed), final
        return final


@pytest.fixture(scope="session")
def opened(furnished: Path) -> Iterator[Studio]:
    studio = Studio(subject_of(furnished))
    yield studio
    studio.engine.close()


@pytest.fixture
def studio(opened: Studio) -> Iterator[Studio]:
    """A loaded engine among everything that jobs may name; what a test leaves is cancelled."""
    yield opened
    opened.clear()
