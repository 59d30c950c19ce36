"""Jobs beside the generating ones: answers, order, patience with others, cancels."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.conformance import Desk, Subject
from tests.backends.llama import tiny
from tests.backends.llama.test_slots import Rack
from velesio.backends.base import Catalogue, Work
from velesio.backends.llama import asides as module
from velesio.backends.llama import backend
from velesio.backends.llama.asides import MAX_JOBS, MAX_TEXTS, Asides
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options
from velesio.errors import BadRequest
from velesio.jobs import (
    Cancelled,
    Chat,
    Completed,
    Completion,
    Detokenize,
    DetokenizedResult,
    Embed,
    EmbedResult,
    Event,
    Failed,
    Image,
    Job,
    PromptResult,
    Render,
    Rerank,
    RerankResult,
    Slots,
    SlotsResult,
    Started,
    Tokenize,
    TokensResult,
)


def render(chat: Chat) -> PromptResult:
    if not chat.messages:
        raise BadRequest("no messages", param="messages")
    return PromptResult(f"<{chat.messages[0]['content']}>", 3)


class Bench:
    """Asides without an engine around them."""

    def __init__(self, path: Path, context: int = 256, **options: Any) -> None:
        chosen = Options(threads=1, slots=2, **options)
        self.model = Model(path, chosen, lambda part: None)
        self.cells = Context(self.model, chosen, context)
        self.rack = Rack()
        self.adapters = Adapters(self.model, ())
        self.asides = Asides(
            self.model,
            chosen,
            context=context,
            cells=self.cells,
            adapters=self.adapters,
            render=render,
            shelf=self.rack,
        )
        self.events: dict[str, list[Event]] = {}
        self.ended: list[Work] = []

    def work(self, params: Any, **fields: Any) -> Work:
        job = Job.new("m", params, **fields)
        self.events[job.id] = []
        return Work(job, self._receive)

    def start(self, params: Any, **fields: Any) -> Work:
        work = self.work(params, **fields)
        assert self.asides.admit(work)
        return work

    def run(self, params: Any, **fields: Any) -> Any:
        """The result, or the `Failed`."""
        work = self.start(params, **fields)
        for _ in range(500):
            if not self.asides.has_work:
                break
            self.asides.step(busy=False)
        final = self.events[work.job.id][-1]
        return final.result if isinstance(final, Completed) else final

    def of(self, work: Work) -> list[Event]:
        return self.events[work.job.id]

    def close(self) -> None:
        self.asides.close()
        self.cells.close()
        self.adapters.close()
        self.model.close()

    def _receive(self, work: Work, event: Event) -> None:
        assert work not in self.ended
        self.events[work.job.id].append(event)
        if isinstance(event, Completed | Failed | Cancelled):
            self.ended.append(work)


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> Iterator[Bench]:
    bench = Bench(smollm2, pooling="mean")
    yield bench
    bench.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Benches with tiny models: causal, or a BERT with a pooling."""
    benches: list[Bench] = []

    def build(pooling_of_bert: int | None = None, **options: Any) -> Bench:
        path = tmp_path / f"{len(benches)}.gguf"
        if pooling_of_bert is None:
            tiny.decoder(path)
        else:
            tiny.bert(path, pooling=pooling_of_bert)
        benches.append(Bench(path, **options))
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()


def rows(result: EmbedResult) -> list["np.ndarray[Any, Any]"]:
    return [np.frombuffer(matrix, "<f4").reshape(-1, result.dimensions) for matrix in result.matrices]


# Tokens and prompts


def test_tokens_with_their_bytes(smol: Bench) -> None:
    """A character of four bytes may be several tokens, whose bytes are no text by themselves."""
    text = "Hello  á 🦗"
    result = smol.run(Tokenize(content=text, pieces=True))
    assert isinstance(result, TokensResult)
    assert b"".join(result.pieces).decode() == text
    assert result.tokens[0] == 19556
    assert len(result.tokens) == len(result.pieces) > len(text.split())
    assert smol.run(Tokenize(content=text)) == TokensResult(result.tokens)


def test_control_tokens_may_be_text(smol: Bench) -> None:
    """`parse_special` decides whether a name is the token."""
    assert smol.run(Tokenize(content="<|im_end|>")).tokens == (2,)
    assert len(smol.run(Tokenize(content="<|im_end|>", parse_special=False)).tokens) > 1
    assert smol.run(Tokenize(content="<|im_end|>", pieces=True)).pieces == (b"<|im_end|>",)


def test_marks_are_added_to_the_first_text_only(make: Callable[..., Bench]) -> None:
    """Mixed lists: ids as they are, texts in place."""
    bench = make()
    assert bench.run(Tokenize(content="ab", add_special=True)).tokens == (256, 97, 98)
    assert bench.run(Tokenize(content=["a", 5, "b"], add_special=True)).tokens == (256, 97, 5, 98)
    assert bench.run(Tokenize(content=[5, "b"], add_special=True)).tokens == (5, 98)
    assert bench.run(Tokenize(content="")).tokens == ()
    assert bench.run(Tokenize(content=[])).tokens == ()


def test_text_of_tokens(smol: Bench) -> None:
    """Control tokens are shown; bytes that are no text become replacement characters."""
    text = "Hello <|im_end|> 🦗"
    tokens = smol.run(Tokenize(content=text)).tokens
    assert smol.run(Detokenize(tokens=tokens)) == DetokenizedResult(text)
    assert "\ufffd" in smol.run(Detokenize(tokens=tokens[:-1])).text
    assert smol.run(Detokenize(tokens=())).text == ""


@pytest.mark.parametrize("params", [Detokenize(tokens=(1, 49152)), Tokenize(content=[-1]), Embed(inputs=([49152],))])
def test_unknown_tokens_are_refused(smol: Bench, params: Any) -> None:
    """The error tells the range."""
    failed = smol.run(params)
    assert (failed.code, failed.details) == ("invalid_request", {"param": "tokens"})
    assert "ids are 0 to 49151" in failed.message


def test_a_prompt_is_shown(smol: Bench) -> None:
    """By the engine's own renderer, whose refusals come through."""
    chat = Chat(messages=[{"role": "user", "content": "hi"}])
    assert smol.run(Render(chat=chat)) == PromptResult("<hi>", 3)
    assert smol.run(Render(chat=Chat(messages=[]))).message == "no messages"


def test_looks_are_answered_when_admitted(smol: Bench) -> None:
    """Started and the result, without a step."""
    work = smol.start(Tokenize(content="a"))
    assert [type(event) for event in smol.of(work)] == [Started, Completed]
    assert not smol.asides.has_work


def test_other_jobs_are_refused(smol: Bench) -> None:
    """A text model draws nothing."""
    assert smol.run(Image(prompt="x")).code == "not_supported"


# Vectors


def test_embeddings_of_several_texts(smol: Bench) -> None:
    """One row for each, of length 1, in order; tokens are counted."""
    result = smol.run(Embed(inputs=("Hello", "The cat sat on the mat.", [19556])))
    assert isinstance(result, EmbedResult)
    assert (result.dimensions, result.pooled) == (576, True)
    found = rows(result)
    assert all(np.linalg.norm(row) == pytest.approx(1, abs=1e-5) for row in found)
    assert np.allclose(found[0], found[2], atol=1e-6)
    assert not np.allclose(found[0], found[1], atol=1e-2)
    assert result.tokens == (1, len(smol.model.tokenize("The cat sat on the mat.")), 1)


def test_dimensions_and_normalization(smol: Bench) -> None:
    """Leading values are of length 1 again; other norms as asked."""
    whole = rows(smol.run(Embed(inputs=("Hello",), normalize=-1)))[0]
    short = smol.run(Embed(inputs=("Hello",), dimensions=64))
    assert short.dimensions == 64
    assert np.allclose(rows(short)[0], whole[:, :64] / np.linalg.norm(whole[:, :64]), atol=1e-5)
    assert np.abs(rows(smol.run(Embed(inputs=("Hello",), normalize=0)))[0]).max() == pytest.approx(32760, rel=1e-4)
    assert np.abs(rows(smol.run(Embed(inputs=("Hello",), normalize=1)))[0]).sum() == pytest.approx(1, rel=1e-4)


def test_a_generative_model_gives_a_row_for_each_token(make: Callable[..., Bench]) -> None:
    """As llama.cpp's server does where neither file nor option says otherwise; such rows are not normalized."""
    result = make().run(Embed(inputs=("abc",)))
    assert not result.pooled
    assert rows(result)[0].shape == (4, tiny.WIDTH)
    assert np.linalg.norm(rows(result)[0][0]) != pytest.approx(1, abs=1e-2)


def test_a_reranker_rates(make: Callable[..., Bench]) -> None:
    """Scores in the order of the documents; the same document, the same score; it makes no embeddings."""
    bench = make(4)
    result = bench.run(Rerank(query="capital of france", documents=("paris", "cat", "paris")))
    assert isinstance(result, RerankResult)
    assert result.scores[0] == pytest.approx(result.scores[2], abs=1e-6)
    assert result.scores[0] != pytest.approx(result.scores[1], abs=1e-3)
    assert result.tokens == 3 * 6
    failed = bench.run(Embed(inputs=("cat",)))
    assert (failed.code, "rerank" in failed.message) == ("not_supported", True)


def test_an_encoder_embeds_and_cannot_generate(make: Callable[..., Bench]) -> None:
    """Its context tells the engine so."""
    bench = make(1)
    assert not bench.cells.can_generate
    assert rows(bench.run(Embed(inputs=("hello world",))))[0].shape == (1, tiny.WIDTH)


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [
        (Rerank(query="a", documents=("b",)), "not_supported", "does not rate documents"),
        (Embed(inputs=()), "invalid_request", "1 to 2048 texts, not 0"),
        (Embed(inputs=("a",) * (MAX_TEXTS + 1)), "invalid_request", "not 2049"),
        (Embed(inputs=("a", "")), "invalid_request", r"input[1]: input content cannot be empty"),
        (Embed(inputs=("word " * 300,)), "context_length_exceeded", "at most 256 tokens"),
        (Embed(inputs=("a",), dimensions=577), "invalid_request", "1 to 576"),
        (Embed(inputs=("a",), dimensions=-1), "invalid_request", "1 to 576"),
        (Embed(inputs=("a",), normalize=-2), "invalid_request", "embd_normalize"),
        (Embed(inputs=("a",), media=(b"x",)), "not_supported", "text only"),
    ],
)
def test_what_cannot_be_embedded_is_refused(smol: Bench, params: Any, code: str, said: str) -> None:
    """Clear words, and nothing is left behind."""
    failed = smol.run(params)
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert said in failed.message
    assert not smol.asides.has_work


def test_too_long_a_text_can_be_cut(smol: Bench) -> None:
    """With `truncate` it counts as many tokens as fit."""
    assert smol.run(Embed(inputs=("word " * 300,), truncate=True)).tokens == (256,)


def test_too_large_an_answer_is_refused(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each token of many texts would be more than one event may hold."""
    monkeypatch.setattr(module, "MAX_BYTES", 32 * tiny.WIDTH * 4)
    bench = make()
    assert isinstance(bench.run(Embed(inputs=("a" * 31,))), EmbedResult)
    assert "more than" in bench.run(Embed(inputs=("a" * 31, "a"))).message


def test_a_step_is_short(smol: Bench) -> None:
    """Many texts are read in many steps, so that others' streams go on between them; then all is answered."""
    work = smol.start(Embed(inputs=tuple(f"Sentence number {number}." for number in range(120))))
    steps = 0
    while smol.asides.has_work:
        smol.asides.step(busy=True)
        steps += 1
        assert steps < 500
    assert steps > 3
    (started, done) = smol.of(work)
    assert isinstance(done, Completed)
    assert isinstance(done.result, EmbedResult)
    assert isinstance(started, Started)
    assert started.prompt_tokens == sum(done.result.tokens)


def test_a_small_job_does_not_wait_for_a_large_one(smol: Bench) -> None:
    """Jobs take turns: one text that comes after a hundred is answered long before they are."""
    large = smol.start(Embed(inputs=tuple(f"Some longer sentence, number {number}." for number in range(100))))
    smol.asides.step(busy=True)
    small = smol.start(Embed(inputs=("Hello",)))
    while smol.asides.has_work:
        smol.asides.step(busy=True)
    assert smol.ended.index(small) < smol.ended.index(large)


def test_jobs_are_read_together(make: Callable[..., Bench]) -> None:
    """Texts of several jobs share a batch, and each job gets its own."""
    bench = make(1)
    works = [bench.start(Embed(inputs=(word,))) for word in ("cat", "dog", "cat")]
    bench.asides.step(busy=False)
    found = []
    for work in works:
        final = bench.of(work)[-1]
        assert isinstance(final, Completed)
        assert isinstance(final.result, EmbedResult)
        found.append(final.result.matrices[0])
    assert np.allclose(np.frombuffer(found[0], "<f4"), np.frombuffer(found[2], "<f4"), atol=1e-5)
    assert found[0] != found[1]


def test_only_so_many_jobs_wait(make: Callable[..., Bench]) -> None:
    """Others stay in the queue, without an event; they are taken when there is room."""
    bench = make(1)
    for _ in range(MAX_JOBS):
        bench.start(Embed(inputs=("cat",)))
    late = bench.work(Embed(inputs=("cat",)))
    assert not bench.asides.admit(late)
    assert not bench.of(late)
    assert isinstance(bench.run(Tokenize(content="cat")), TokensResult)
    while bench.asides.has_work:
        bench.asides.step(busy=False)
    assert bench.asides.admit(late)


def test_cancelling(smol: Bench) -> None:
    """Between two steps, also in the middle of a text; the others are not touched."""
    gone = smol.start(Embed(inputs=("word " * 200,)))
    kept = smol.start(Embed(inputs=("Hello",)))
    smol.asides.step(busy=True)
    gone.cancelled = True
    while smol.asides.has_work:
        smol.asides.step(busy=True)
    assert isinstance(smol.of(gone)[-1], Cancelled)
    assert isinstance(smol.of(kept)[-1], Completed)
    assert isinstance(smol.run(Embed(inputs=("word " * 200,))), EmbedResult)


def test_a_failed_batch_fails_its_jobs_only(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs in it may be tried again elsewhere; the engine lives, and the next job is served."""
    bench = make(1)
    with monkeypatch.context() as patch:
        patch.setattr("llama_cpp.llama_cpp.llama_decode", lambda context, batch: -3)
        failed = bench.run(Embed(inputs=("cat",)))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retry) == ("internal_error", True)
    assert "llama_decode returned -3" in failed.message
    assert isinstance(bench.run(Embed(inputs=("cat",))), EmbedResult)


def test_too_little_memory_fails_the_job(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else; there may be more of it later."""
    bench = make(1)
    with monkeypatch.context() as patch:
        patch.setattr("velesio.backends.llama.embedding.free_memory", lambda: 0)
        assert bench.run(Embed(inputs=("cat",))).code == "out_of_memory"
    assert isinstance(bench.run(Embed(inputs=("cat",))), EmbedResult)


# Slots


def test_slots_are_listed_at_once(smol: Bench) -> None:
    """As the engine describes them."""
    work = smol.start(Slots())
    final = smol.of(work)[-1]
    assert isinstance(final, Completed)
    assert isinstance(final.result, SlotsResult)
    assert [slot["id"] for slot in final.result.slots] == [0, 1]


def test_a_job_on_a_busy_slot_waits(make: Callable[..., Bench], tmp_path: Path) -> None:
    """Until the slot is free, or it is cancelled."""
    bench = make(slot_save_path=str(tmp_path / "saved"))
    bench.rack.busy = {0}
    waiting, cancelled = bench.start(Slots(action="erase", id_slot=0)), bench.start(Slots(action="erase", id_slot=0))
    bench.asides.step(busy=True)
    assert bench.asides.has_work
    cancelled.cancelled = True
    bench.asides.step(busy=True)
    assert isinstance(bench.of(cancelled)[-1], Cancelled)
    bench.rack.busy = set()
    bench.asides.step(busy=False)
    assert isinstance(bench.of(waiting)[-1], Completed)
    assert not bench.asides.has_work


def test_what_cannot_be_done_with_a_slot_is_said(make: Callable[..., Bench], tmp_path: Path) -> None:
    """Before it waits, or when its turn comes."""
    assert make().run(Slots(action="save", id_slot=0, filename="a")).code == "not_supported"
    bench = make(slot_save_path=str(tmp_path / "saved"))
    assert bench.run(Slots(action="save", id_slot=9, filename="a")).details == {"param": "id_slot"}
    assert bench.run(Slots(action="save", id_slot=0, filename="a")).code == "invalid_request"
    assert bench.run(Slots(action="restore", id_slot=0, filename="a")).code == "not_found"


def test_a_saved_slot_reads_the_engines_cells(make: Callable[..., Bench], tmp_path: Path) -> None:
    """What was computed in the generating context is what comes back."""
    bench = make(slot_save_path=str(tmp_path / "saved"), cached=2)
    tokens = array("i", bench.model.tokenize("hello"))
    bench.cells.add(0, tokens, 0, outputs=1)
    assert bench.cells.decode() == 0
    bench.rack.adopt(0, 0, tokens, "default")
    saved = bench.run(Slots(action="save", id_slot=0, filename="a"))
    assert saved.tokens == bench.run(Slots(action="restore", id_slot=1, filename="a")).tokens == 5
    assert bench.cells.spans(3, 5)


def test_closing_forgets_what_waits(make: Callable[..., Bench]) -> None:
    """No further events come."""
    bench = make(1)
    work = bench.start(Embed(inputs=("cat",)))
    bench.asides.close()
    assert not bench.asides.has_work
    assert not bench.of(work)


def test_an_engine_with_an_encoder_refuses_to_generate(tmp_path: Path) -> None:
    """The model loads, and a completion gets 501 instead of ending the process."""
    (tmp_path / "text").mkdir()
    tiny.bert(tmp_path / "text" / "bert.gguf", pooling=1)
    made = backend(Catalogue(models_dir=tmp_path, options={"threads": 1}))
    params = Completion(prompt="hello world")
    desk = Desk(Subject(made, made.models()[0], lambda number: params, params))
    failed = desk.run(params)
    assert (failed.code, "embeddings" in failed.message) == ("not_supported", True)
    desk.engine.close()
