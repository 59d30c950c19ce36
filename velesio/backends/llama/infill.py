"""The prompt that asks for what stands between two pieces of code.

Models that fill gaps were trained on texts whose parts are told apart by marks: other files first, then what comes
before the gap, what comes after it, and a mark behind which the gap's text is expected.
"""

from velesio.backends.llama.binding import Marks, Model
from velesio.errors import Unsupported
from velesio.jobs import Infill

PROJECT, FILE = "myproject\n", "filename\n"
"""Names that llama.cpp's server gives the project and the file, of which requests do not tell any."""
_SNIPPET = "\n\n--- snippet ---\n\n"
"""Stands before another file where the vocabulary has no mark for that."""
_PREFIX_PART = 3
"""Quarters of the window that belong to the text before the gap; the rest is for the text after it."""


def infill_tokens(model: Model, params: Infill, *, context: int, n_batch: int, spm: bool = False) -> list[int]:
    """The prompt of `params` for a context of `context` tokens.

    Of the text before and after the gap, what is next to it and fits `n_batch` tokens is used, three parts before to
    one after; of the other files the end that fits the rest of the context. `spm`: the text after the gap first.

    Raises:
        Unsupported: if the vocabulary has no marks for gaps.
    """
    marks = model.marks
    _check(marks)
    answer = max(0, params.max_tokens)
    window = max(8, min(n_batch, context - 8 - answer))
    given = model.tokenize(params.prompt)
    prefix = model.tokenize(params.prefix, parse=False)
    suffix = model.tokenize(params.suffix, parse=False)
    before = [marks.fim_pre, *_last(prefix, _PREFIX_PART * (window // 4)), *given]
    after = [marks.fim_suf, *suffix[: max(0, window // 4 - 2 - len(given))]]
    extra = _last(_other_files(model, marks, params), context - window - 2 * answer - 8)
    begin = [marks.bos] if model.adds_bos else []
    both = after + before if spm else before + after
    return [*extra, *begin, *both, marks.fim_mid]


def _check(marks: Marks) -> None:
    names = {"prefix": marks.fim_pre, "suffix": marks.fim_suf, "middle": marks.fim_mid}
    missing = [f"{name} token is missing." for name, token in names.items() if token < 0]
    if missing:
        raise Unsupported(f"Infill is not supported by this model: {' '.join(missing)}")


def _other_files(model: Model, marks: Marks, params: Infill) -> list[int]:
    tokens: list[int] = []
    if marks.fim_rep >= 0:
        tokens += [marks.fim_rep, *model.tokenize(PROJECT, parse=False)]
    for name, text in params.extra:
        if marks.fim_sep >= 0:
            tokens += [marks.fim_sep, *model.tokenize(f"{name}\n", parse=False)]
        else:
            tokens += model.tokenize(_SNIPPET, parse=False)
        tokens += model.tokenize(text, parse=False)
    if marks.fim_sep >= 0:
        tokens += [marks.fim_sep, *model.tokenize(FILE, parse=False)]
    return tokens


def _last(tokens: list[int], count: int) -> list[int]:
    return tokens[-count:] if count > 0 else []
