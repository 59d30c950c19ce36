"""A desk with SmolLM2 on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import Desk, Subject
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.llama import LlamaBackend, backend
from velesio.jobs import Completion, Sampling


def llama(smollm2: Path, **options: Any) -> LlamaBackend:
    spec = ModelSpec(name="smollm2", path=smollm2, options=options)
    return backend(Catalogue(models_dir=Path("none"), specs=(spec,)))


def subject_of(smollm2: Path, **options: Any) -> Subject:
    made = llama(smollm2, **options)
    return Subject(
        backend=made,
        card=made.models()[0],
        params=lambda number: Completion(prompt=f"{number}, {number + 1}, {number + 2},", max_tokens=4),
        endless=Completion(
            prompt="Once upon a time", max_tokens=200, sampling=Sampling(temperature=0, ignore_eos=True)
        ),
        too_much=Completion(prompt="word " * 1000),
    )


@pytest.fixture
def make_desk(smollm2: Path) -> Iterator[Callable[..., Desk]]:
    """Loads SmolLM2 with options; closed after the test."""
    desks: list[Desk] = []

    def make(**options: Any) -> Desk:
        desks.append(Desk(subject_of(smollm2, **options)))
        return desks[-1]

    yield make
    for desk in desks:
        desk.engine.close()


@pytest.fixture(scope="module")
def shared_desk(smollm2: Path) -> Iterator[Desk]:
    desk = Desk(subject_of(smollm2, context=512, slots=4))
    yield desk
    desk.engine.close()


@pytest.fixture
def desk(shared_desk: Desk) -> Iterator[Desk]:
    """SmolLM2 with four slots of 512 tokens, loaded once for the module."""
    yield shared_desk
    shared_desk.clear()
