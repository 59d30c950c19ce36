"""What a lost worker had sent is gone on with as if it had never been lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import validate

from tests.backends.conformance import Desk
from velesio.jobs import Completion, Delta, Grammar, Sampling, TextResult, TokenProbs

GREEDY = Sampling(temperature=0, ignore_eos=True)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def whole(desk: Desk, params: Completion, sent: tuple[int, ...] = ()) -> tuple[TextResult, str]:
    """The result, and what was streamed."""
    work = desk.start(params, stream=True, sent=sent)
    result = desk.finish(work)[0].result
    return result, "".join(event.text for event in desk.of(work) if isinstance(event, Delta))


def test_a_greedy_answer_goes_on_with_the_same_bits(desk: Desk) -> None:
    """Each token sent is computed by itself, as the first time, so that the model's opinion of the next ones is the
    same to the last bit, and near ties fall as they would have fallen."""
    params = Completion(
        prompt="Explain why the sky is blue.", max_tokens=110, cache_prompt=False, sampling=GREEDY, n_probs=3
    )
    undisturbed, _ = whole(desk, params)
    result, streamed = whole(desk, params, undisturbed.tokens[:104])
    assert result.tokens == undisturbed.tokens
    assert result.probs == undisturbed.probs[104:]
    assert undisturbed.text.endswith(streamed)


def test_bits_do_not_depend_on_how_fast_the_machine_is(make_desk: Callable[..., Desk]) -> None:
    """Where a prompt is cut and whether guesses pay are questions of time: neither shows in the answer, nor where a
    lost worker's is gone on with. Each prompt here has tokens that are computed in tiles, and a rest."""
    desk = make_desk(context=384, slots=2, threads=2, ubatch=128)
    engine: Any = desk.engine
    params = Completion(
        prompt="To be, or not to be. " * 26, max_tokens=14, cache_prompt=False, sampling=GREEDY, n_probs=2
    )
    found: list[tuple[TokenProbs, ...]] = []
    for room, guesses in ((512, 0), (64, 4)):
        engine._pace.prompt_tokens = lambda generating, room=room: room
        engine._speculation._worth.best = lambda numbers, count, guesses=guesses: guesses
        result, _ = whole(desk, params)
        assert 64 < result.usage.prompt_tokens % 128 < 128, "a whole piece, a tile and a rest"
        assert bool(result.timings.accepted) == bool(guesses)
        found.append(result.probs)
    continued, _ = whole(desk, params, result.tokens[:7])
    found.append(result.probs[:7] + continued.probs)
    assert found.count(found[0]) == 3


def test_bits_of_long_answers_where_attention_has_one_code_path(make_desk: Callable[..., Desk]) -> None:
    """With `kv_type_k = "bf16"` neither tiles nor the splitting of a lone sequence among threads is there, so that
    bits are the same also beyond 256 tokens: alone, with guesses, among others, with a cached prefix."""
    desk = make_desk(context=320, slots=2, threads=2, ubatch=128, kv_type_k="bf16")
    engine: Any = desk.engine
    text = "To be, or not to be. " * 33
    params = Completion(prompt=text, max_tokens=10, sampling=GREEDY, n_probs=2)
    engine._speculation._worth.best = lambda numbers, count: 0
    alone, _ = whole(desk, params)
    assert alone.usage.prompt_tokens > 256
    engine._speculation._worth.best = lambda numbers, count: 4
    guessed, _ = whole(desk, params)
    assert guessed.timings.accepted
    assert guessed.usage.cached_tokens > 200
    engine._speculation._worth.best = lambda numbers, count: 0
    neighbour = Completion(prompt="My favourite recipe begins", max_tokens=40, sampling=GREEDY)
    among, _ = desk.finish(desk.start(params, stream=True), desk.start(neighbour))
    assert alone.probs == guessed.probs == among.result.probs


def test_others_go_on_while_one_steps_through_what_it_had(desk: Desk) -> None:
    """A neighbour gets its tokens in the same steps, and the same ones."""
    params = Completion(prompt="Explain why the sky is blue.", max_tokens=40, cache_prompt=False, sampling=GREEDY)
    other = Completion(prompt="My favourite recipe begins with", max_tokens=20, cache_prompt=False, sampling=GREEDY)
    undisturbed, _ = whole(desk, params)
    alone, _ = whole(desk, other)
    continued = desk.start(params, stream=True, sent=undisturbed.tokens[:30])
    neighbour = desk.start(other, stream=True)
    final, beside = desk.finish(continued, neighbour)
    assert final.result.tokens == undisturbed.tokens
    assert beside.result.tokens == alone.tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_continued_answer_obeys_its_schema(desk: Desk, temperature: float) -> None:
    """Cut anywhere, also within a string: the parts together are one valid document."""
    params = Completion(
        prompt="A person as JSON:\n",
        max_tokens=200,
        grammar=Grammar(schema=SCHEMA),
        sampling=Sampling(temperature=temperature, seed=3),
    )
    undisturbed, text = whole(desk, params)
    assert text == undisturbed.text
    for cut in range(1, len(undisturbed.tokens) - 1, 8):
        result, _ = whole(desk, params, undisturbed.tokens[:cut])
        validate(json.loads(result.text), SCHEMA)
        assert result.tokens[:cut] == undisturbed.tokens[:cut]


@pytest.mark.parametrize("stop", [" 14", "11, 12, 13"])
def test_a_continued_answer_ends_at_its_stop_string(desk: Desk, stop: str) -> None:
    """Also where a part of the string had come before the cut; nothing of it is sent, nothing before it twice."""
    fields: dict[str, Any] = {"max_tokens": 60, "sampling": GREEDY, "stop": (stop,)}
    params = Completion(prompt="5, 6, 7, 8, 9, 10,", **fields)
    undisturbed, text = whole(desk, params)
    assert (undisturbed.stop, undisturbed.stopping_word, text) == ("word", stop, undisturbed.text)
    for cut in range(len(undisturbed.tokens) - 5, len(undisturbed.tokens)):
        result, streamed = whole(desk, params, undisturbed.tokens[:cut])
        assert (result.text, result.stop, result.stopping_word) == (undisturbed.text, "word", stop)
        assert undisturbed.text.endswith(streamed)
