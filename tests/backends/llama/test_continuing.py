"""What a lost worker had sent is gone on with as if it had never been lost."""

import json
from typing import Any

import pytest
from jsonschema import validate

from tests.backends.conformance import Desk
from velesio.jobs import Completion, Delta, Grammar, Sampling, TextResult

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
    """Each token sent is computed by itself, as the first time, so that the model's opinion of the
    next ones is the same to the last bit, and near ties fall as they would have fallen."""
    params = Completion(
        prompt="Explain why the sky is blue.", max_tokens=110, cache_prompt=False, sampling=GREEDY, n_probs=3
    )
    undisturbed, _ = whole(desk, params)
    result, streamed = whole(desk, params, undisturbed.tokens[:104])
    assert result.tokens == undisturbed.tokens
    assert result.probs == undisturbed.probs[104:]
    assert undisturbed.text.endswith(streamed)


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
