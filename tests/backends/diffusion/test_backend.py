"""The diffusion backend keeps the laws of engines, and needs nothing heavy before it loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.conformance import EngineLaws, Subject
from tests.backends.diffusion.conftest import subject_of


class TestEngine(EngineLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, models_dir: Path) -> Subject:
        return subject_of(models_dir, slots=4)


def test_finding_models_imports_nothing_heavy(models_dir: Path) -> None:
    """A gateway asks for the cards; torch, diffusers and transformers stay out of it."""
    script = (
        "import sys; from pathlib import Path; from velesio.backends.base import Catalogue\n"
        "from velesio.backends.diffusion import backend\n"
        "cards = backend(Catalogue(models_dir=Path(sys.argv[1]))).models()\n"
        "print([card.name for card in cards], sorted({'torch', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(models_dir)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "['tiny'] []"
