"""Jobs beside the generating ones, through the engine: they hold no slot, stop no stream, and see its slots."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.conformance import GREEDY, Desk
from velesio import metrics
from velesio.backends.base import Catalogue, ModelSpec, Work
from velesio.backends.llama import backend
from velesio.errors import ModelLoadFailed
from velesio.jobs import (
    Chat,
    Completed,
    Completion,
    Delta,
    Detokenize,
    Embed,
    EmbedResult,
    Failed,
    Render,
    Sampling,
    Slots,
    SlotsResult,
    Tokenize,
)

STORY = "The history of the lighthouse begins with fires on hills, which showed sailors the way home. " * 2
ENDLESS = Sampling(temperature=0, ignore_eos=True)


def engine(desk: Desk) -> Any:
    return desk.engine


def result(final: Any) -> Any:
    assert isinstance(final, Completed), final
    return final.result


def held(desk: Desk) -> tuple[float, float]:
    """What the metrics tell of running sequences: cells, and kept sequences."""
    name = desk.subject.card.name
    cells = metrics.cells_running.labels(name)._value.get()
    return cells, metrics.kv_kept.labels(name)._value.get()


def test_they_are_served_while_every_slot_is_taken(desk: Desk) -> None:
    """Tokens, prompts and vectors need no slot; no token of the running jobs is lost."""
    works = [desk.start(Completion(prompt=f"{number},", sampling=GREEDY, max_tokens=12)) for number in range(4)]
    desk.engine.step()
    assert desk.admit(Completion(prompt="x")) is None
    tokens = result(desk.run(Tokenize(content="Hello there"))).tokens
    assert result(desk.run(Detokenize(tokens=tokens))).text == "Hello there"
    vectors = result(desk.run(Embed(inputs=("one text", "another"))))
    assert isinstance(vectors, EmbedResult)
    assert len(vectors.matrices) == 2
    alone = [len(result(final).tokens) for final in desk.finish(*works)]
    assert alone == [12] * 4


def test_a_prompt_is_shown_as_it_is_computed(desk: Desk) -> None:
    """`Render` gives what a chat's result names as its prompt, and counts the same tokens."""
    chat = Chat(messages=[{"role": "user", "content": "What is 2+2?"}], sampling=GREEDY, max_tokens=1)
    shown = result(desk.run(Render(chat)))
    answered = desk.text(chat)
    assert (shown.prompt, shown.tokens) == (answered.prompt, answered.usage.prompt_tokens)


def test_vectors_do_not_hold_up_a_stream(desk: Desk) -> None:
    """Between two batches of texts every running stream gets tokens, and it says what it says alone."""
    params = Completion(prompt="Once upon a time", sampling=ENDLESS, max_tokens=16)
    alone = desk.text(params).text
    stream = desk.start(params, stream=True)
    desk.engine.step()
    texts = desk.start(Embed(inputs=(STORY * 2,) * 3))
    seen: list[int] = []
    while desk.final(texts) is None:
        before = len(deltas(desk, stream))
        desk.engine.step()
        seen.append(len(deltas(desk, stream)) - before)
    assert len(seen) > 2
    assert all(seen[:20])
    assert result(desk.finish(stream)[0]).text == alone


def deltas(desk: Desk, work: Work) -> list[Delta]:
    return [event for event in desk.of(work) if isinstance(event, Delta)]


def test_vectors_agree_with_what_the_text_means(make_desk: Callable[..., Desk]) -> None:
    """With a pooling, like texts are nearer to each other than to another one."""
    desk = make_desk(context=256, slots=1, pooling="mean")
    found = result(desk.run(Embed(inputs=("The cat sleeps.", "A cat is sleeping.", "Taxes rose by 4% in 1998."))))
    one, two, other = (np.frombuffer(data, "<f4") for data in found.matrices)
    assert np.isclose(one @ one, 1.0, atol=1e-5)
    assert one @ two > one @ other


def test_a_slot_is_saved_and_restored_into_another_engine(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """What a job left is read back later: the next prompt finds it and the answer is the same."""
    options = {"context": 256, "slots": 2, "slot_save_path": str(tmp_path)}
    params = Completion(prompt=STORY, sampling=GREEDY, max_tokens=6, id_slot=1)
    first = make_desk(**options)
    answer = first.text(params)
    saved = result(first.run(Slots("save", 1, "a.bin")))
    assert isinstance(saved, SlotsResult)
    assert saved.tokens == answer.usage.prompt_tokens + 5  # the last token is never computed
    assert saved.bytes == (tmp_path / "a.bin").stat().st_size
    second = make_desk(**options)
    assert result(second.run(Slots("restore", 0, "a.bin"))).tokens == saved.tokens
    again = second.text(params)
    assert again.usage.cached_tokens >= answer.usage.prompt_tokens - 2
    assert again.text == answer.text


def test_an_erased_slot_is_forgotten(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """The same prompt is computed again, and there is nothing to save."""
    desk = make_desk(context=256, slots=1, slot_save_path=str(tmp_path))
    params = Completion(prompt=STORY, sampling=GREEDY, max_tokens=2)
    desk.text(params)
    assert result(desk.run(Slots("erase", 0))).tokens > 30
    assert desk.text(params).usage.cached_tokens == 0
    result(desk.run(Slots("erase", 0)))
    refused = desk.run(Slots("save", 0, "a.bin"))
    assert isinstance(refused, Failed)
    assert "nothing to save" in refused.message


def test_what_a_tenant_left_is_not_saved_by_another(make_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """With `isolate_cache` the slot looks empty to others."""
    desk = make_desk(context=256, slots=1, slot_save_path=str(tmp_path), isolate_cache=True)
    desk.text(Completion(prompt=STORY, sampling=GREEDY, max_tokens=2), tenant="a")
    assert isinstance(desk.run(Slots("save", 0, "a.bin"), tenant="b"), Failed)
    assert isinstance(desk.run(Slots("save", 0, "a.bin"), tenant="a"), Completed)


def test_slots_tell_what_they_compute(desk: Desk) -> None:
    """One entry for each, with the job's own settings while it runs."""
    desk.start(Completion(prompt=STORY, sampling=ENDLESS, max_tokens=100, id_slot=2))
    desk.engine.step()
    listed = result(desk.run(Slots())).slots
    assert [slot["is_processing"] for slot in listed] == [False, False, True, False]
    assert listed[2]["params"]["n_predict"] == 100
    assert listed[2]["n_prompt_tokens"] > 30


def test_the_metrics_account_for_every_cell(make_desk: Callable[..., Desk]) -> None:
    """Running sequences hold cells; when none runs, however they ended, no cell counts as theirs."""
    desk = make_desk(context=256, slots=3, kv_unified=True)
    works = [desk.start(Completion(prompt=STORY, sampling=ENDLESS, max_tokens=9)) for _ in range(3)]
    desk.engine.step()
    desk.engine.step()
    assert engine(desk)._cells.running > 30
    works[1].cancelled = True
    desk.finish(*works)
    kept = engine(desk)._cells.kept
    assert kept >= 1
    assert held(desk) == (0.0, kept)


def test_a_failed_load_leaves_the_next_one_alone(smollm2: Path, tmp_path: Path) -> None:
    """A draft model that is not there fails the load with its name; without it the model loads."""
    spec = ModelSpec(name="m", path=smollm2, options={"context": 64, "slots": 1, "draft": "none.gguf"})
    broken = backend(Catalogue(models_dir=tmp_path, specs=(spec,)))
    with pytest.raises(ModelLoadFailed, match=r"none\.gguf"):
        broken.load(broken.models()[0], lambda part: None)
    fine = backend(Catalogue(models_dir=tmp_path, specs=(ModelSpec(name="m", path=smollm2),)))
    fine.load(fine.models()[0], lambda part: None).close()
