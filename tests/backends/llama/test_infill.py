"""The prompt around a gap, as llama.cpp's server builds it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backends.conformance import GREEDY, Desk, Subject
from tests.backends.llama import tiny
from velesio.backends.base import Catalogue
from velesio.backends.llama import backend
from velesio.backends.llama.binding import Model
from velesio.backends.llama.infill import FILE, PROJECT, infill_tokens
from velesio.backends.llama.options import Options
from velesio.errors import Unsupported
from velesio.jobs import Infill

GAP = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
REPOSITORY = ("<|repo_name|>", "<|file_sep|>")


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., Model]]:
    """Models whose tokens are bytes, with these control tokens."""
    opened: list[Model] = []

    def make(*marks: str) -> Model:
        path = tiny.decoder(tmp_path / f"{len(opened)}.gguf", marks=marks)
        opened.append(Model(path, Options(threads=1), lambda part: None))
        return opened[-1]

    yield make
    for model in opened:
        model.close()


def shown(model: Model, params: Infill, *, context: int = 400, n_batch: int = 200, spm: bool = False) -> str:
    return model.text(infill_tokens(model, params, context=context, n_batch=n_batch, spm=spm))


def test_text_before_and_after(load: Callable[..., Model]) -> None:
    """Begin mark, prefix, what the gap begins with, suffix, middle."""
    params = Infill(prefix="def f(", suffix="\n  return x", prompt="x")
    assert shown(load(*GAP), params) == "<s><|fim_prefix|>def f(x<|fim_suffix|>\n  return x<|fim_middle|>"


def test_the_suffix_may_come_first(load: Callable[..., Model]) -> None:
    """For models trained that way."""
    params = Infill(prefix="ab", suffix="yz")
    assert shown(load(*GAP), params, spm=True) == "<s><|fim_suffix|>yz<|fim_prefix|>ab<|fim_middle|>"


def test_other_files_come_before(load: Callable[..., Model]) -> None:
    """With names, where the vocabulary can tell files apart; else between lines that say so."""
    params = Infill(prefix="a", suffix="z", extra=(("one.py", "first"), ("two.py", "second")))
    end = "<s><|fim_prefix|>a<|fim_suffix|>z<|fim_middle|>"
    assert shown(load(*GAP, *REPOSITORY), params) == (
        f"<|repo_name|>{PROJECT}<|file_sep|>one.py\nfirst<|file_sep|>two.py\nsecond<|file_sep|>{FILE}{end}"
    )
    snippet = "\n\n--- snippet ---\n\n"
    assert shown(load(*GAP), params) == f"{snippet}first{snippet}second{end}"


def test_what_is_nearest_to_the_gap_is_kept(load: Callable[..., Model]) -> None:
    """Three quarters of the window are for the text before, one for the text after; then what is left of the context
    for the end of other files."""
    params = Infill(
        prefix="p" * 500 + "P", suffix="S" + "s" * 500, prompt="g", extra=(("", "x" * 500 + "X"),), max_tokens=50
    )
    model = load(*GAP)
    text = shown(model, params, context=400, n_batch=200)
    extra, _, rest = text.partition("<s>")
    assert rest == f"<|fim_prefix|>{'p' * 149}Pg<|fim_suffix|>S{'s' * 46}<|fim_middle|>"
    assert extra == "x" * 91 + "X"
    assert len(model.tokenize(text)) + 50 <= 400


@pytest.mark.parametrize("context", [32, 64, 100, 400])
def test_it_fits_small_contexts(load: Callable[..., Model], context: int) -> None:
    """However much is given and however large the batch, prompt and answer fit."""
    params = Infill(prefix="p" * 900, suffix="s" * 900, extra=(("f", "x" * 900),), max_tokens=8)
    tokens = infill_tokens(load(*GAP, *REPOSITORY), params, context=context, n_batch=2048)
    assert len(tokens) + 8 <= context


def test_control_tokens_in_code_are_text(load: Callable[..., Model]) -> None:
    """A file that writes about the marks does not end the prefix."""
    model = load(*GAP)
    tokens = infill_tokens(model, Infill(prefix="x <|fim_middle|> y"), context=400, n_batch=200)
    assert tokens.count(model.marks.fim_mid) == 1


def test_a_model_without_marks_is_refused(smollm2: Path) -> None:
    """The error tells what is missing."""
    model = Model(smollm2, Options(threads=1), lambda part: None)
    with pytest.raises(Unsupported, match=r"prefix token .* suffix token .* middle token is missing"):
        infill_tokens(model, Infill(prefix="a"), context=512, n_batch=512)
    model.close()


def test_an_engine_fills_gaps(tmp_path: Path) -> None:
    """The result tells the prompt as the model saw it; the answer begins behind the middle mark."""
    (tmp_path / "text").mkdir()
    tiny.decoder(tmp_path / "text" / "code.gguf", marks=GAP)
    made = backend(Catalogue(models_dir=tmp_path, options={"threads": 1, "slots": 1}))
    params = Infill(prefix="ab", suffix="yz", sampling=GREEDY, max_tokens=4)
    desk = Desk(Subject(made, made.models()[0], lambda number: params, params))
    result = desk.text(params)
    assert result.prompt == "<s><|fim_prefix|>ab<|fim_suffix|>yz<|fim_middle|>"
    assert result.usage.completion_tokens == len(result.tokens) <= 4
    desk.engine.close()
