"""Vectors: numbers, batches, pooling, room, and the pair that a reranker sees."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.llama import tiny
from velesio.backends.llama.binding import Matrix, Model
from velesio.backends.llama.embedding import IDLE, Embedder, Text, leading, normalized, packed, pair
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options
from velesio.errors import BadRequest, ContextExceeded, OutOfMemory

TEXTS = ("Hello world", "The capital of France is Paris.", "x", "one two three four five six seven eight " * 4)
OPTIONS = Options(threads=1, slots=1)


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> Iterator[Model]:
    model = Model(smollm2, OPTIONS, lambda part: None)
    yield model
    model.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Embedder]]:
    """Embedders for a model or for a file; all are closed after the test."""
    opened: list[Any] = []

    def build(source: Model | Path, *, limit: int = 256, keeps: bool = True, **options: Any) -> Embedder:
        clock = options.pop("clock", lambda: 0.0)
        chosen = Options(threads=1, slots=1, **options)
        if isinstance(source, Path):
            source = Model(source, chosen, lambda part: None)
            opened.append(source)
        embedder = Embedder(source, chosen, Adapters(source, ()), limit=limit, keeps=keeps, clock=clock)
        opened.append(embedder)
        return embedder

    yield build
    for item in reversed(opened):
        item.close()


def texts_of(model: Model, *contents: str) -> list[Text]:
    return [Text(array("i", model.tokenize(content, special=True))) for content in contents]


def run(embedder: Embedder, texts: list[Text], budget: int = 1000) -> list[Matrix]:
    left = list(texts)
    for _ in range(1000):
        done, tokens = embedder.step(left, budget)
        assert tokens
        left = [text for text in left if text not in done]
        if not left:
            return [text.matrix for text in texts]
    pytest.fail("no end")


def reference(path: Path, pooling: int) -> list[Matrix]:
    """The same from the bindings' own class, which reads a text whole and lets llama.cpp pool."""
    llama = llama_cpp.Llama(
        str(path),
        embedding=True,
        pooling_type=pooling,
        n_ctx=256,
        n_batch=256,
        n_ubatch=256,
        n_threads=1,
        verbose=False,
    )
    try:
        return [
            np.array(llama.create_embedding(text)["data"][0]["embedding"], np.float32).reshape(-1, llama.n_embd())
            for text in TEXTS
        ]
    finally:
        llama.close()


@pytest.mark.parametrize(("pooling", "number"), [("none", 0), ("mean", 1), ("cls", 2), ("last", 3)])
def test_numbers_are_those_of_the_bindings(
    smol: Model, smollm2: Path, make: Callable[..., Embedder], pooling: str, number: int
) -> None:
    """Texts read in pieces and pooled here give what llama.cpp gives for whole ones, within rounding."""
    found = run(make(smol, pooling=pooling, ubatch=16), texts_of(smol, *TEXTS), budget=16)
    for mine, theirs in zip(found, reference(smollm2, number), strict=True):
        assert mine.shape == theirs.shape
        size = np.abs(theirs).max()
        assert np.abs(mine - theirs).max() < 2e-3 * size


def test_a_batch_gives_what_each_alone_gives(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """Eight texts together, in pieces of any size, and one after the other; weights are not quantized here, since
    rounded activations make large differences of the smallest ones."""
    contents = [*TEXTS, *(text.upper() for text in TEXTS)]
    embedder = make(tiny.decoder(tmp_path / "plain.gguf"), limit=512, pooling="mean")
    model = embedder._model
    alone = [run(embedder, texts_of(model, content))[0] for content in contents]
    for budget in (1000, 33, 7):
        together = run(embedder, texts_of(model, *contents), budget)
        for one, many in zip(alone, together, strict=True):
            assert np.abs(normalized(one, 2) - normalized(many, 2)).max() < 1e-5


def test_a_batch_of_a_quantized_model(smol: Model, make: Callable[..., Embedder]) -> None:
    """The directions of vectors are those of each text alone."""
    embedder = make(smol, pooling="mean")
    together = run(embedder, texts_of(smol, *TEXTS))
    for content, many in zip(TEXTS, together, strict=True):
        alone = run(embedder, texts_of(smol, content))[0]
        assert float((normalized(alone, 2) * normalized(many, 2)).sum()) > 0.999


def test_related_texts_lie_nearer(smol: Model, make: Callable[..., Embedder]) -> None:
    """Vectors mean something: two sentences on France are nearer to each other than to code."""
    contents = ("The capital of France is Paris.", "Paris is the French capital.", "for (int i = 0; i < n; i++) {")
    france, paris, code = (normalized(m, 2)[0] for m in run(make(smol, pooling="mean"), texts_of(smol, *contents)))
    assert france @ paris > france @ code


def test_a_step_reads_no_more_than_its_budget(smol: Model, make: Callable[..., Embedder]) -> None:
    """A long text of a causal model is read in pieces; others come along as there is room."""
    embedder = make(smol, pooling="mean")
    texts = texts_of(smol, "word " * 100, "short")
    seen = []
    while any(text.left for text in texts):
        before = sum(text.seen for text in texts)
        embedder.step([text for text in texts if text.left], 24)
        seen.append(sum(text.seen for text in texts) - before)
    assert max(seen) <= 24
    assert sum(seen) == sum(len(text.tokens) for text in texts)


def test_cells_are_not_given_away_twice(smol: Model, make: Callable[..., Embedder]) -> None:
    """Texts that do not fit beside those being read wait; dropping one makes room at once."""
    embedder = make(smol, pooling="mean", limit=64)
    first, second = texts_of(smol, "word " * 50, "other " * 50)
    embedder.step([first, second], 40)
    embedder.step([first, second], 4)
    assert first.seen == 44
    assert not second.seen
    embedder.drop(first)
    done, _ = embedder.step([second], 64)
    assert done == [second]


@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_an_encoder_reads_texts_whole(tmp_path: Path, make: Callable[..., Embedder], pooling: int) -> None:
    """A BERT, pooled by llama.cpp as its file says, gives the bindings' numbers; together as alone."""
    path = tiny.bert(tmp_path / "bert.gguf", pooling=pooling)
    embedder = make(path, limit=64, keeps=False)
    model = embedder._model
    contents = ("hello world", "the capital of france is paris", "cat")
    together = run(embedder, texts_of(model, *contents))
    llama = llama_cpp.Llama(str(path), embedding=True, n_ctx=64, n_batch=64, n_ubatch=64, n_threads=1, verbose=False)
    expected = [np.array(llama.create_embedding(text)["data"][0]["embedding"], np.float32) for text in contents]
    llama.close()
    for text, mine, theirs in zip(contents, together, expected, strict=True):
        assert mine.shape == (1, tiny.WIDTH)
        assert np.abs(mine[0] - theirs).max() < 1e-4
        assert np.abs(run(embedder, texts_of(model, text))[0] - mine).max() < 1e-5


def test_pooling_can_be_chosen_against_the_file(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """The option is in force where the file says something else; `none` gives one row for each token."""
    path = tiny.bert(tmp_path / "bert.gguf", pooling=1)
    rows = {}
    for pooling in ("model", "none", "mean", "cls", "last"):
        embedder = make(path, limit=64, keeps=False, pooling=pooling)
        rows[pooling] = run(embedder, texts_of(embedder._model, "hello world"))[0]
    assert rows["none"].shape == (4, tiny.WIDTH)
    assert np.allclose(rows["model"], rows["mean"], atol=1e-6)
    assert np.allclose(rows["mean"][0], rows["none"].mean(axis=0), atol=1e-5)
    assert np.allclose(rows["cls"][0], rows["none"][0], atol=1e-5)
    assert np.allclose(rows["last"][0], rows["none"][-1], atol=1e-5)


def test_a_causal_model_with_a_pooling_of_its_own_reads_whole(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """Where the file says how to pool, llama.cpp does it, whatever the budget."""
    path = tiny.decoder(tmp_path / "mean.gguf", llama__pooling_type=1)
    embedder = make(path, limit=128)
    text = texts_of(embedder._model, "hello world, hello all")[0]
    done, tokens = embedder.step([text], 4)
    assert (done, tokens) == ([text], len(text.tokens))
    pieces = make(tiny.decoder(tmp_path / "plain.gguf"), limit=128, pooling="mean")
    same = texts_of(pieces._model, "hello world, hello all")[0]
    assert np.allclose(run(pieces, [same], budget=4)[0], text.matrix, atol=1e-3)


def test_room_grows_with_the_longest_text(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """An encoder's first texts take little memory; one that is longer is read all the same."""
    path = tiny.bert(tmp_path / "bert.gguf", pooling=1, context=1024)
    embedder = make(path, limit=1024, keeps=False)
    short, long = texts_of(embedder._model, "cat", "dog " * 600)
    run(embedder, [short])
    assert embedder._context is not None
    assert embedder._context.batch == 512
    run(embedder, [long])
    assert embedder._context.batch == 1024


def test_a_reranker_rates_documents_apart(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """Each pair gets a number of its own, the same alone and among others."""
    embedder = make(tiny.bert(tmp_path / "rank.gguf", pooling=4), limit=64, keeps=False)
    model = embedder._model
    assert embedder.pooling == "rank"
    pairs = [pair(model, "capital of france", document) for document in ("paris", "blue cat", "berlin is the capital")]
    together = [float(m[0, 0]) for m in run(embedder, [Text(array("i", tokens)) for tokens in pairs])]
    alone = [float(run(embedder, [Text(array("i", tokens))])[0][0, 0]) for tokens in pairs]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 3


def test_the_pair_has_the_vocabularys_marks(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """BERT: begin, query, separator, document; names of control tokens in either are only text."""
    model = make(tiny.bert(tmp_path / "rank.gguf", pooling=4), limit=64, keeps=False)._model
    hello, world, cat = (model.tokenize(word)[0] for word in ("hello", "world", "cat"))
    assert pair(model, "hello world", "cat") == [model.marks.bos, hello, world, model.marks.sep, cat]
    assert model.marks.sep not in pair(model, "hello", "cat [SEP] cat")[3:]


def test_the_pair_follows_the_files_template(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """A rerank template stands around both; braces in a query are not taken for the document's place."""
    entry = {"tokenizer.chat_template.rerank": "Q:{query} D:{document}!"}
    path = tiny.decoder(tmp_path / "rank.gguf", text=entry, llama__pooling_type=4)
    model = make(path, limit=64)._model
    assert model.text(pair(model, "a{document}b", "dog")) == "Q:a{document}b D:dog!"


def test_what_is_too_long_is_refused_or_cut(tmp_path: Path, make: Callable[..., Embedder]) -> None:
    """The error tells both lengths and the option; a cut text keeps its end mark; nothing cannot be embedded."""
    embedder = make(tiny.bert(tmp_path / "bert.gguf", pooling=1), limit=8, keeps=False)
    tokens = embedder._model.tokenize("cat " * 10, special=True)
    with pytest.raises(ContextExceeded, match=r"input\[3\].*12 tokens.*at most 8.*embed_tokens") as caught:
        embedder.fit(tokens, keep_last=True, truncate=False, place="input[3]")
    assert caught.value.details == {"n_prompt_tokens": 12, "n_ctx": 8}
    cut = embedder.fit(tokens, keep_last=True, truncate=True, place="input[0]")
    assert list(cut) == [*tokens[:7], tokens[-1]]
    assert list(embedder.fit(tokens, keep_last=False, truncate=True, place="input[0]")) == tokens[:8]
    with pytest.raises(BadRequest, match=r"input\[0\].*empty"):
        embedder.fit([], keep_last=False, truncate=True, place="input[0]")


def test_memory_comes_late_and_goes_when_idle(smol: Model, make: Callable[..., Embedder]) -> None:
    """Nothing is allocated before the first text; after some idle minutes it is given back, and taken again."""
    now = [0.0]
    embedder = make(smol, pooling="mean", clock=lambda: now[0])
    assert not embedder.is_open
    first = run(embedder, texts_of(smol, "Hello"))[0]
    embedder.tidy()
    assert embedder.is_open
    now[0] = IDLE + 1
    embedder.tidy()
    assert not embedder.is_open
    assert np.array_equal(run(embedder, texts_of(smol, "Hello"))[0], first)


def test_too_little_memory_is_said_before_it_is_taken(
    smol: Model, make: Callable[..., Embedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what is needed, what is free and the option."""
    monkeypatch.setattr("velesio.backends.llama.embedding.free_memory", lambda: 1 << 20)
    embedder = make(smol, pooling="mean")
    with pytest.raises(OutOfMemory, match=r"needs about \d+ MiB and 1 MiB are free; .*embed_tokens"):
        embedder.step(texts_of(smol, "Hello"), 100)
    assert not embedder.is_open


MATRICES = st.lists(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
).map(lambda rows: np.array(rows, np.float32))


@given(MATRICES, st.integers(1, 6))
def test_norms(matrix: Matrix, norm: int) -> None:
    """The p-norm of a row is 1 afterwards, or the row was nothing; values never become invalid numbers."""
    rows = normalized(matrix, norm).astype(np.float64)
    assert np.isfinite(rows).all()
    for before, after in zip(matrix, rows, strict=True):
        length = (np.abs(after) ** norm).sum() ** (1 / norm)
        assert length == pytest.approx(1.0 if before.any() else 0.0, abs=1e-3)


def test_other_normalizations() -> None:
    """-1 leaves the values, 0 makes the largest 32760; leading values can be taken; rows are packed in order."""
    matrix = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    assert normalized(matrix, -1) is matrix
    assert normalized(matrix, 0).tolist() == [[24570.0, -32760.0], [0.0, 0.0]]
    assert np.allclose(normalized(matrix, 2), [[0.6, -0.8], [0.0, 0.0]])
    assert leading(matrix, 1).tolist() == [[3.0], [0.0]]
    assert leading(matrix, 0) is matrix
    assert packed([leading(matrix, 1)]) == (np.array([3.0, 0.0], "<f4").tobytes(),)


class Ledger:
    """Stands for a context: a token's vector is its id, and everything that llama.cpp would refuse fails here."""

    def __init__(self, *, cells: int, batch: int) -> None:
        self.batch, self.texts = batch, 3
        self._cells = cells
        self._held: dict[int, int] = {}
        self._added: list[list[int]] = []

    def add(self, text: int, tokens: "array[int]", position: int) -> None:
        assert 0 <= text < self.texts
        assert position == self._held.get(text, 0), "a text is read on where it was left"
        assert tokens
        self._held[text] = position + len(tokens)
        self._added.append(list(tokens))
        assert sum(map(len, self._added)) <= self.batch
        assert sum(self._held.values()) <= self._cells

    def compute(self) -> list[Matrix]:
        added, self._added = self._added, []
        return [np.array(tokens, np.float32).reshape(-1, 1) for tokens in added]

    def remove(self, text: int) -> None:
        del self._held[text]

    def close(self) -> None:
        pass


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    budgets=st.lists(st.integers(1, 12), min_size=1),
    dropped=st.sets(st.integers(0, 11)),
    cells=st.integers(20, 50),
)
def test_every_text_is_read_once(
    smol: Model, lengths: list[int], budgets: list[int], dropped: set[int], cells: int
) -> None:
    """Whatever comes, leaves and fits: no batch or cell is overdrawn, all get done with their own mean."""
    options = Options(threads=1, slots=1, pooling="mean", ubatch=8)
    embedder = Embedder(smol, options, Adapters(smol, ()), limit=cells, keeps=True)
    embedder._context = Ledger(cells=cells, batch=8)  # type: ignore[assignment]
    texts = [Text(array("i", range(number, number + length))) for number, length in enumerate(lengths)]
    left, step = list(texts), 0
    while left:
        budget = budgets[step % len(budgets)]
        done, tokens = embedder.step(left, budget)
        assert 0 < tokens <= budget
        left = [text for text in left if text not in done]
        if step in dropped and left:
            embedder.drop(left.pop(0))
        step += 1
    for text in texts:
        if not text.left:
            assert text.matrix[0, 0] == pytest.approx(np.mean(text.tokens))
