"""The example of docs/writing-a-backend.md works, and keeps the laws of engines."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import Desk, EngineLaws, Subject
from velesio.backends.base import Catalogue, ModelSpec
from velesio.jobs import Completion, Delta, Image

GUIDE = Path(__file__).parents[2] / "docs/writing-a-backend.md"


def example() -> dict[str, Any]:
    """What the guide's first block of Python defines."""
    match = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    names: dict[str, Any] = {}
    exec(match[1], names)
    return names


class TestExample(EngineLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        factory = example()["Shout"]
        backend = factory(Catalogue(models_dir=Path("none"), specs=(ModelSpec(name="loud"),)))
        return Subject(
            backend=backend,
            card=backend.models()[0],
            params=lambda number: Completion(prompt=f"say {number}"),
            endless=Completion(prompt="on " * 400),
            too_much=Image(prompt="a fox"),
            refusal="not_supported",
        )

    def test_it_shouts(self, desk: Desk) -> None:
        """Word by word, as the guide says."""
        work = desk.start(Completion(prompt="how are you"), stream=True)
        assert desk.finish(work)[0].result.text == "HOW ARE YOU"
        deltas = [event.text for event in desk.of(work) if isinstance(event, Delta)]
        assert deltas == ["HOW ", "ARE ", "YOU"]


def test_the_files_that_the_guide_names_exist() -> None:
    """Paths in the text are paths of the repository."""
    paths = re.findall(r"`((?:tests|velesio)/[\w/.]+\.py)`", GUIDE.read_text(encoding="utf-8"))
    assert len(paths) >= 5
    for path in paths:
        assert (GUIDE.parents[1] / path).is_file(), path
