"""Grammars and probabilities through the engine: beside others, continued, failed."""

import json

from jsonschema import validate

from tests.backends.conformance import Desk
from tests.backends.llama.test_sampler import SCHEMA
from velesio.jobs import Completed, Completion, Delta, Failed, Grammar, Sampling, TextResult

PROMPT = "Describe a character of a game as JSON:\n"


def character(seed: int) -> Completion:
    sampling = Sampling(seed=seed, temperature=1.0)
    return Completion(prompt=PROMPT, grammar=Grammar(schema=SCHEMA), sampling=sampling, max_tokens=300)


def texts(finals: list[object]) -> list[str]:
    assert all(isinstance(final, Completed) and isinstance(final.result, TextResult) for final in finals)
    return [final.result.text for final in finals]  # type: ignore[attr-defined]


def test_answers_beside_each_other_are_those_that_each_gives_alone(desk: Desk) -> None:
    """Four at once, each with its own place in the same grammar; all are valid."""
    together = texts(desk.finish(*[desk.start(character(seed)) for seed in range(4)]))
    for text in together:
        validate(json.loads(text), SCHEMA)
    assert together == [desk.text(character(seed)).text for seed in range(4)]


def test_a_continued_answer_stays_in_its_grammar(desk: Desk) -> None:
    """A lost worker's tokens are replayed; what follows is another draw, but valid."""
    whole = desk.text(character(7))
    for cut in (1, len(whole.tokens) // 2, len(whole.tokens) - 2):
        text = desk.text(character(8), sent=whole.tokens[:cut]).text
        validate(json.loads(text), SCHEMA)


def test_an_answer_without_a_way_on_disturbs_nobody(desk: Desk) -> None:
    """It fails for its own reason; its neighbour gets what it gets alone."""
    everything = tuple((token, None) for token in range(49152))
    stuck = Completion(prompt="x", grammar=Grammar(gbnf='root ::= "y"'), sampling=Sampling(logit_bias=everything))
    alone = desk.text(character(3)).text
    neighbour, failing = desk.start(character(3)), desk.start(stuck)
    final, failed = desk.finish(neighbour, failing)
    assert texts([final]) == [alone]
    assert isinstance(failed, Failed)
    assert failed.code == "invalid_request"
    assert "no token of this model" in failed.message


def test_a_bad_grammar_is_refused_before_anything_is_computed(desk: Desk) -> None:
    """With nothing but the refusal."""
    work = desk.start(Completion(prompt="x", grammar=Grammar(gbnf="root ::= root")))
    (only,) = desk.of(work)
    assert isinstance(only, Failed)
    assert (only.code, only.details) == ("invalid_request", {"param": "grammar"})


def test_each_token_comes_with_its_probabilities(desk: Desk) -> None:
    """In the deltas and in the result, the same ones."""
    params = Completion(prompt="The capital of France is", sampling=Sampling(temperature=0), max_tokens=6, n_probs=3)
    work = desk.start(params, stream=True)
    (final,) = desk.finish(work)
    deltas = [event for event in desk.of(work) if isinstance(event, Delta)]
    probs = [each for delta in deltas for each in delta.probs]
    assert [each.token for each in probs] == [token for delta in deltas for token in delta.tokens]
    assert all(len(each.top) == 3 and each.top[0][0] == each.token for each in probs)
    assert tuple(probs) == final.result.probs
