"""Fixtures of the image engine: one tiny checkpoint for the session, engines on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.backends.conformance import Desk, Subject
from tests.backends.diffusion import tiny
from velesio.backends.base import Catalogue
from velesio.backends.diffusion import DiffusionBackend, backend
from velesio.jobs import Completion, Image


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one checkpoint, `tiny`."""
    place = tmp_path_factory.mktemp("models")
    tiny.write(place / "checkpoints" / "tiny.safetensors")
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


@pytest.fixture(scope="session")
def loaded(models_dir: Path) -> Iterator[Desk]:
    desk = Desk(subject_of(models_dir))
    yield desk
    desk.engine.close()


@pytest.fixture
def desk(loaded: Desk) -> Iterator[Desk]:
    """A loaded engine; what a test leaves is cancelled."""
    yield loaded
    loaded.clear()
