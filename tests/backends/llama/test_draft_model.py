"""The draft model's own rules; what its guesses do is shown with the engine."""

from types import SimpleNamespace
from typing import Any

import pytest

from velesio.backends.llama.draft_model import DraftModel
from velesio.errors import ModelLoadFailed


def model(tokens: list[bytes]) -> Any:
    return SimpleNamespace(n_vocab=len(tokens), piece=lambda token: tokens[token])


@pytest.mark.parametrize("tokens", [[b"a"], [b"a", b"c"]])
def test_a_draft_model_with_other_tokens_is_refused(tokens: list[bytes]) -> None:
    """Its guesses would mean something else."""
    with pytest.raises(ModelLoadFailed, match="another vocabulary"):
        DraftModel(model(tokens), SimpleNamespace(), model([b"a", b"b"]))  # type: ignore[arg-type]
