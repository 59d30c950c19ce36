"""The sampler on SmolLM2's own logits: each of llama.cpp's against a few lines of numpy, grammars, probabilities."""

import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from jsonschema import validate

from velesio.backends.llama import json_schema
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.options import Options
from velesio.backends.llama.sampler import MAX_PROBS, Choice, Sampler, sampler_of
from velesio.errors import BadRequest
from velesio.jobs import Completion, Grammar, InForce, Sampling, Trigger

PROMPT = "The best thing about red apples and red roses is that red"

Logits = npt.NDArray[np.float64]


class Bench:
    """A model whose logits after a prompt can be sampled from again and again."""

    def __init__(self, path: Path) -> None:
        options = Options(context=512, slots=1, threads=1, repack="off")
        self.model = Model(path, options, lambda _done: None)
        self.context = Context(self.model, options, 512)
        self._length = 0
        self.place = -1

    def read(self, prompt: str) -> list[int]:
        self.context.remove(0, 0)
        tokens = self.model.tokenize(prompt, special=True)
        self._length = 0
        self.feed(*tokens)
        return tokens

    def feed(self, *tokens: int) -> None:
        self.place = self.context.add(0, array("i", tokens), self._length, outputs=1)
        self.context.decode()
        self._length += len(tokens)

    def logits(self) -> Logits:
        logits: Logits = self.context.logits(self.place).astype(np.float64)
        return logits

    def sampler(self, prompt: str = PROMPT, tokens: list[int] | None = None, **fields: Any) -> Sampler:
        params = Completion(prompt=prompt, **fields)
        return sampler_of(self.model, params, tokens or self.model.tokenize(prompt, special=True), context=512)

    def sample(self, sampler: Sampler) -> Choice:
        return sampler.sample(self.context, self.place)

    def probabilities(self, tokens: list[int], **sampling: Any) -> dict[int, float]:
        """What is left after the samplers, likeliest first, at most a hundred."""
        sampler = self.sampler(
            tokens=tokens, sampling=Sampling(seed=1, **sampling), n_probs=MAX_PROBS, post_sampling_probs=True
        )
        probs = self.sample(sampler).probs
        sampler.close()
        assert probs is not None
        return {token: p for token, _, p in probs.top}

    def answer(self, sampler: Sampler, most: int = 300) -> str:
        text = b""
        for _ in range(most):
            token = self.sample(sampler).token
            if self.model.is_end(token):
                break
            text += self.model.piece(token)
            self.feed(token)
        sampler.close()
        return text.decode()


@pytest.fixture(scope="module")
def bench(smollm2: Path) -> Iterator[Bench]:
    made = Bench(smollm2)
    yield made
    made.context.close()
    made.model.close()


# Each sampler against numpy


def softmax(logits: Logits) -> Logits:
    powers: Logits = np.exp(logits - logits.max())
    found: Logits = powers / powers.sum()
    return found


def entropy(logits: Logits) -> float:
    p = softmax(logits)
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum())


def kept(logits: Logits, keep: npt.NDArray[np.bool_]) -> Logits:
    return np.where(keep, logits, -np.inf)


def top_k(logits: Logits, k: int) -> Logits:
    return kept(logits, logits >= np.sort(logits)[-k])


def top_p(logits: Logits, p: float, min_keep: int = 1) -> Logits:
    order = np.argsort(-logits)
    count = max(min_keep, int(np.searchsorted(np.cumsum(softmax(logits)[order]), p)) + 1)
    return kept(logits, np.isin(np.arange(len(logits)), order[:count]))


def min_p(logits: Logits, p: float) -> Logits:
    return kept(logits, logits >= logits.max() + np.log(p))


def typical(logits: Logits, p: float) -> Logits:
    probabilities = softmax(logits)
    order = np.argsort(np.abs(-np.log(np.maximum(probabilities, 1e-300)) - entropy(logits)))
    count = int(np.searchsorted(np.cumsum(probabilities[order]), p, side="right")) + 1
    return kept(logits, np.isin(np.arange(len(logits)), order[:count]))


def sigma(logits: Logits, n: float) -> Logits:
    finite = logits[np.isfinite(logits)]
    return kept(logits, logits >= finite.max() - n * finite.std())


def dynamic(logits: Logits, heat: float, spread: float, exponent: float) -> Logits:
    share = entropy(logits) / np.log(np.isfinite(logits).sum())
    low, high = max(0.0, heat - spread), heat + spread
    found: Logits = logits / (low + (high - low) * share**exponent)
    return found


def without_best(logits: Logits, threshold: float) -> Logits:
    """XTC: of the tokens above the threshold only the least likely stays."""
    p = softmax(logits)
    above = np.flatnonzero(p >= threshold)
    gone = above[above != above[np.argmin(p[above])]] if len(above) > 1 else above[:0]
    return kept(logits, ~np.isin(np.arange(len(logits)), gone))


def penalized(logits: Logits, last: list[int], repeat: float, frequency: float, presence: float) -> Logits:
    logits = logits.copy()
    for token in set(last):
        logits[token] *= repeat if logits[token] <= 0 else 1 / repeat
        logits[token] -= last.count(token) * frequency + presence
    return logits


NONE: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        (NONE | {"top_k": 7}, lambda logits, _: top_k(logits, 7)),
        (NONE | {"top_k": 1}, lambda logits, _: top_k(logits, 1)),
        (NONE | {"top_p": 0.5}, lambda logits, _: top_p(logits, 0.5)),
        (NONE | {"top_p": 0.01, "min_keep": 5}, lambda logits, _: top_p(logits, 0.01, 5)),
        (NONE | {"min_p": 0.1}, lambda logits, _: min_p(logits, 0.1)),
        (NONE | {"typical_p": 0.2}, lambda logits, _: typical(logits, 0.2)),
        (NONE | {"top_n_sigma": 1.5}, lambda logits, _: sigma(logits, 1.5)),
        (NONE | {"top_k": 40, "temperature": 0.5}, lambda logits, _: top_k(logits, 40) / 0.5),
        (NONE | {"temperature": 3.0}, lambda logits, _: logits / 3.0),
        (
            NONE | {"top_k": 40, "dynatemp_range": 0.4, "dynatemp_exponent": 1.5},
            lambda logits, _: dynamic(top_k(logits, 40), 1.0, 0.4, 1.5),
        ),
        (
            NONE | {"top_k": 20, "xtc_probability": 1.0, "xtc_threshold": 0.05},
            lambda logits, _: without_best(top_k(logits, 20), 0.05),
        ),
        (
            NONE | {"repeat_penalty": 1.5, "frequency_penalty": 0.3, "presence_penalty": 0.7},
            lambda logits, tokens: penalized(logits, tokens, 1.5, 0.3, 0.7),
        ),
        (
            NONE | {"frequency_penalty": 2.0, "repeat_last_n": 3},
            lambda logits, tokens: penalized(logits, tokens[-3:], 1.0, 2.0, 0.0),
        ),
        (
            {"temperature": 2.0, "top_k": 0, "top_p": 0.4, "min_p": 0.0, "samplers": ("temperature", "top_p")},
            lambda logits, _: top_p(logits / 2.0, 0.4),
        ),
        (
            {"temperature": 2.0, "top_k": 0, "top_p": 0.4, "min_p": 0.0, "samplers": ("top_p", "temperature")},
            lambda logits, _: top_p(logits, 0.4) / 2.0,
        ),
        ({}, lambda logits, _: min_p(top_p(top_k(logits, 40), 0.95), 0.05) / 0.8),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_what_is_left_is_what_numpy_leaves(
    bench: Bench, fields: dict[str, Any], reference: Callable[[Logits, list[int]], Logits]
) -> None:
    """The hundred likeliest tokens after the chain, with their probabilities."""
    tokens = bench.read(PROMPT)
    found = bench.probabilities(tokens, **fields)
    expected = softmax(reference(bench.logits(), tokens))
    best = [int(token) for token in np.argsort(-expected)[:MAX_PROBS] if expected[token] > 1e-12]
    assert set(found) == set(best) or len(best) == MAX_PROBS
    for token, p in found.items():
        assert p == pytest.approx(expected[token], rel=2e-3, abs=1e-6)


def test_biases_move_logits_and_forbid(bench: Bench) -> None:
    """By id, by text, and false."""
    tokens = bench.read(PROMPT)
    logits = bench.logits()
    first, second, third = (int(token) for token in np.argsort(-logits)[:3])
    (apple,) = bench.model.tokenize(" apple")
    found = bench.probabilities(tokens, **NONE, logit_bias=((first, None), (second, -1.5), (" apple", 9.0)))
    logits[first], logits[second], logits[apple] = -np.inf, logits[second] - 1.5, logits[apple] + 9.0
    expected = softmax(logits)
    assert first not in found
    for token in (second, third, apple):
        assert found[token] == pytest.approx(expected[token], rel=2e-3)


def test_end_tokens_are_never_chosen_when_ignored(bench: Bench) -> None:
    """Even where nothing else is likely."""
    tokens = bench.read("<|im_start|>user\nSay yes<|im_end|>\n<|im_start|>assistant\nYes.")
    assert any(bench.model.is_end(token) for token in bench.probabilities(tokens, **NONE))
    assert not any(bench.model.is_end(token) for token in bench.probabilities(tokens, **NONE, ignore_eos=True))


def test_dry_punishes_what_would_repeat_a_sequence(bench: Bench) -> None:
    """multiplier * base ^ (length of what repeats - allowed length), for the token that would go on with it."""
    tokens = bench.read("one two three four five six. Well one two three four five")
    (six,) = bench.model.tokenize(" six")
    earlier = tokens[: tokens.index(six)]
    length = next(n for n in range(1, 9) if tokens[-n - 1 :] != earlier[-n - 1 :])
    assert length == 4
    fields = NONE | {"samplers": ("dry",), "dry_base": 1.2, "dry_penalty_last_n": 64}
    off, on = (bench.probabilities(tokens, **fields, dry_multiplier=multiplier) for multiplier in (0.0, 0.5))
    other = next(token for token in on if token != six and token in off)
    punished = np.log(off[six] / off[other]) - np.log(on[six] / on[other])
    assert punished == pytest.approx(0.5 * 1.2 ** (length - 2), rel=0.01)


def test_mirostat_2_keeps_what_is_no_surprise(bench: Bench) -> None:
    """At first tokens of less than twice tau bits."""
    tokens = bench.read(PROMPT)
    found = bench.probabilities(tokens, temperature=1.0, mirostat=2, mirostat_tau=2.0)
    p = softmax(bench.logits())
    assert set(found) == set(np.flatnonzero(-np.log2(p) <= 4.0).tolist())


def test_mirostat_1_keeps_few_for_a_low_target(bench: Bench) -> None:
    """And more for a higher one; always the likeliest."""
    tokens = bench.read(PROMPT)
    few, many = (bench.probabilities(tokens, temperature=1.0, mirostat=1, mirostat_tau=tau) for tau in (0.5, 4.0))
    best = int(np.argmax(bench.logits()))
    assert best in few
    assert set(few) < set(many)


def test_adaptive_p_likes_tokens_near_its_target(bench: Bench) -> None:
    """llama.cpp's formula on the probabilities after the other samplers; it needs a target."""
    tokens = bench.read(PROMPT)
    names = ("top_k", "adaptive_p")
    fields = NONE | {"top_k": 10, "samplers": names, "adaptive_decay": 0.9}
    found = bench.probabilities(tokens, **fields, adaptive_target=0.2)
    before = softmax(top_k(bench.logits(), 10))
    distance = np.abs(before - 0.2) / 0.3
    expected = softmax(kept(5.0 - 10.0 * distance**2 / (1.0 + distance), before > 0))
    for token, p in found.items():
        assert p == pytest.approx(expected[token], rel=2e-3)
    plain = bench.probabilities(tokens, **fields, adaptive_target=-1.0)
    assert plain == pytest.approx({token: before[token] for token in plain}, rel=2e-3)


def test_the_infill_sampler_is_built(bench: Bench) -> None:
    """It leaves something to choose from."""
    tokens = bench.read(PROMPT)
    assert bench.probabilities(tokens, **NONE | {"samplers": ("top_k", "infill"), "top_k": 5})


def test_greedy_takes_the_likeliest(bench: Bench) -> None:
    """As do top_k 1 and a nucleus of nothing, at any temperature."""
    tokens = bench.read(PROMPT)
    best = int(np.argmax(bench.logits()))
    for fields in ({"temperature": 0}, {"top_k": 1, "temperature": 5.0}, {"top_p": 0.0, "temperature": 5.0}):
        sampler = bench.sampler(tokens=tokens, sampling=Sampling(**fields))
        assert bench.sample(sampler).token == best
        sampler.close()


def test_biases_decide_a_greedy_choice(bench: Bench) -> None:
    """The likeliest token unless a bias makes another one likelier, downwards or upwards; as numpy would add it."""
    tokens = bench.read(PROMPT)
    logits = bench.logits().copy()
    first, second, third = (int(token) for token in np.argsort(-logits)[:3])
    for bias in (
        {first: None},
        {first: -1e-6, second: -1.0},
        {first: -30.0},
        {first: -30.0, second: None},
        {third: 30.0},
        {first: -1.0, third: 30.0},
        {second: -5.0},
    ):
        expected = logits.copy()
        for token, value in bias.items():
            expected[token] += -np.inf if value is None else value
        sampling = Sampling(temperature=0, ignore_eos=True, logit_bias=tuple(bias.items()))
        sampler = bench.sampler(tokens=tokens, sampling=sampling)
        assert bench.sample(sampler).token == int(np.argmax(expected)), bias
        sampler.close()


def test_draws_follow_the_probabilities(bench: Bench) -> None:
    """Three thousand draws from five tokens: within five standard deviations each."""
    tokens = bench.read(PROMPT)
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(seed=5, **NONE | {"top_k": 5}))
    drawn = [bench.sample(sampler).token for _ in range(3000)]
    sampler.close()
    expected = softmax(top_k(bench.logits(), 5))
    for token in np.flatnonzero(expected).tolist():
        spread = 5 * np.sqrt(3000 * expected[token] * (1 - expected[token]))
        assert abs(drawn.count(token) - 3000 * expected[token]) < spread


def test_a_seed_gives_the_same_draws_beside_others(bench: Bench) -> None:
    """Samplers share nothing, though they use the same room; with a grammar as well."""
    tokens = bench.read(PROMPT)

    def made(seed: int) -> Sampler:
        grammar = Grammar(gbnf="root ::= [a-z ]+")
        return bench.sampler(tokens=tokens, sampling=Sampling(seed=seed, **NONE), grammar=grammar)

    alone, first, second = made(3), made(3), made(4)
    lonely = [bench.sample(alone).token for _ in range(30)]
    pairs = [(bench.sample(first).token, bench.sample(second).token) for _ in range(30)]
    assert [one for one, _ in pairs] == lonely
    assert [other for _, other in pairs] != lonely


# Probabilities


def test_log_probabilities_are_the_models_own(bench: Bench) -> None:
    """A log softmax over the whole vocabulary, whatever the samplers do."""
    tokens = bench.read(PROMPT)
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0, logit_bias=((3, 50.0),)), n_probs=5)
    choice = bench.sample(sampler)
    sampler.close()
    logits = bench.logits()
    expected = np.log(softmax(logits))
    assert choice.token == 3
    assert choice.probs is not None
    assert choice.probs.logprob == pytest.approx(expected[3], rel=1e-4)
    assert [token for token, _, _ in choice.probs.top] == np.argsort(-logits)[:5].tolist()
    for token, piece, logprob in choice.probs.top:
        assert piece == bench.model.piece(token)
        assert logprob == pytest.approx(expected[token], rel=1e-4)


@pytest.mark.parametrize("post", [False, True])
def test_asking_for_probabilities_changes_no_choice(bench: Bench, post: bool) -> None:
    """The same seed, the same tokens."""
    tokens = bench.read(PROMPT)
    sampling = Sampling(seed=8, repeat_penalty=1.2)
    plain = bench.sampler(tokens=tokens, sampling=sampling)
    asked = bench.sampler(tokens=tokens, sampling=sampling, n_probs=3, post_sampling_probs=post)
    for _ in range(40):
        choice = bench.sample(asked)
        assert choice.token == bench.sample(plain).token
        assert choice.probs is not None
        assert choice.probs.token == choice.token


def test_a_greedy_choice_is_certain_afterwards(bench: Bench) -> None:
    """Probability 1, and no rivals."""
    tokens = bench.read(PROMPT)
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0), n_probs=3, post_sampling_probs=True)
    choice = bench.sample(sampler)
    assert choice.probs is not None
    assert choice.probs.logprob == 1.0
    assert [token for token, _, _ in choice.probs.top] == [choice.token]


def test_the_number_of_probabilities_has_a_limit(bench: Bench) -> None:
    with pytest.raises(BadRequest, match="at most 100"):
        bench.sampler(n_probs=MAX_PROBS + 1)


# Grammars


def test_a_grammar_takes_the_likeliest_that_it_allows(bench: Bench) -> None:
    """Greedy with a grammar: the best of the allowed tokens, and the others as if they were not there."""
    tokens = bench.read(PROMPT)
    grammar = Grammar(gbnf='root ::= (" green" | " blue" | " yellow") [.]')
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0), grammar=grammar)
    logits = bench.logits()
    vocabulary = bench.model.grammars.vocabulary
    fits = [
        token
        for token, piece in enumerate(vocabulary.pieces)
        if piece and any(word.startswith(piece) for word in (b" green", b" blue", b" yellow"))
    ]
    assert bench.sample(sampler).token == max(fits, key=lambda token: logits[token])
    sampler.close()


def test_probabilities_after_a_grammar_are_among_what_it_allows(bench: Bench) -> None:
    """The chain's probabilities over the allowed tokens."""
    tokens = bench.read(PROMPT)
    sampler = bench.sampler(
        tokens=tokens,
        sampling=Sampling(seed=1, **NONE),
        grammar=Grammar(gbnf="root ::= [0-9]"),
        n_probs=20,
        post_sampling_probs=True,
    )
    probs = bench.sample(sampler).probs
    assert probs is not None
    digits = {bench.model.tokenize(str(digit))[0] for digit in range(10)}
    expected = softmax(kept(bench.logits(), np.isin(np.arange(bench.model.n_vocab), list(digits))))
    assert {token for token, _, _ in probs.top} == digits
    assert probs.logprob == pytest.approx(expected[probs.token], rel=2e-3)


def test_an_answer_ends_where_its_grammar_does(bench: Bench) -> None:
    """Even a model that may not say its end, or that would rather go on."""
    tokens = bench.read(PROMPT)
    for sampling in (Sampling(temperature=0), Sampling(temperature=0, ignore_eos=True)):
        bench.read(PROMPT)
        sampler = bench.sampler(tokens=tokens, sampling=sampling, grammar=Grammar(gbnf='root ::= " wine" " is"'))
        assert bench.answer(sampler) == " wine is"


def test_a_grammar_that_no_token_can_follow_is_an_error(bench: Bench) -> None:
    """Not an endless loop, and not the end of the process."""
    tokens = bench.read(PROMPT)
    (yes,) = bench.model.tokenize(" yes")
    sampler = bench.sampler(
        tokens=tokens,
        sampling=Sampling(logit_bias=tuple((token, None) for token in range(bench.model.n_vocab))),
        grammar=Grammar(gbnf='root ::= " yes"'),
    )
    with pytest.raises(BadRequest, match="no token of this model"):
        bench.sample(sampler)
    with pytest.raises(BadRequest, match="does not allow ' no'"):
        sampler.replay(bench.model.tokenize(" no")[0])
    sampler.replay(yes)
    sampler.close()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_request_that_forbids_every_token_fails(bench: Bench, lazy: bool) -> None:
    """By an error of its own, with probabilities after the samplers or while a grammar waits."""
    bench.read(PROMPT)
    grammar = Grammar(gbnf="root ::= [a]", lazy=True, triggers=(Trigger("word", "x"),)) if lazy else None
    everything = tuple((token, None) for token in range(bench.model.n_vocab))
    for sampling in (Sampling(logit_bias=everything), Sampling(logit_bias=everything, temperature=0)):
        sampler = bench.sampler(sampling=sampling, grammar=grammar, n_probs=1, post_sampling_probs=True)
        with pytest.raises(BadRequest, match="forbids every token"):
            bench.sample(sampler)
        sampler.close()


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"},
        "role": {"enum": ["mage", "knight", "thief"]},
        "grid": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
            "minItems": 1,
            "maxItems": 2,
        },
        "note": {"type": "string", "maxLength": 20},
    },
    "required": ["name", "role", "grid", "note"],
}


@pytest.mark.parametrize("seed", range(6))
def test_hot_answers_are_valid_against_their_schema(bench: Bench, seed: int) -> None:
    """Nested arrays, an enumeration, a pattern, lengths and bounds, at temperature 1."""
    prompt = "Describe a character of a game as JSON:\n"
    bench.read(prompt)
    sampling = Sampling(seed=seed, temperature=1.0)
    validate(json.loads(bench.answer(bench.sampler(prompt, sampling=sampling, grammar=Grammar(schema=SCHEMA)))), SCHEMA)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_hot_answers_are_valid_against_their_schema(bench: Bench) -> None:
    """A hundred of a hundred."""
    for seed in range(100):
        test_hot_answers_are_valid_against_their_schema(bench, 1000 + seed)


def test_a_replayed_answer_goes_on_in_its_grammar(bench: Bench) -> None:
    """Cut anywhere and continued by a new sampler, an answer is valid."""
    prompt = "Describe a character of a game as JSON:\n"
    grammar = Grammar(schema=SCHEMA)
    bench.read(prompt)
    sampler = bench.sampler(prompt, sampling=Sampling(seed=3, temperature=1.0), grammar=grammar)
    sent: list[int] = []
    while len(sent) < 25:
        sent.append(bench.sample(sampler).token)
        bench.feed(sent[-1])
    other = bench.sampler(prompt, sampling=Sampling(seed=77, temperature=1.0), grammar=grammar)
    for token in sent:
        other.replay(token)
    begin = b"".join(bench.model.piece(token) for token in sent).decode()
    validate(json.loads(begin + bench.answer(other)), SCHEMA)


CALL = 'root ::= "<call>" ("red" | "green") "</call>"'


@pytest.mark.parametrize(
    "trigger",
    [
        Trigger("word", "<call>"),
        Trigger("pattern", "[a-z]\\.(<call>)"),
        Trigger("pattern_full", "[\\s\\S]*(<call>)"),
    ],
    ids=lambda trigger: trigger.kind,
)
def test_a_lazy_grammar_is_in_force_from_its_trigger_on(bench: Bench, trigger: Trigger) -> None:
    """Free text first; what follows the trigger is held to the grammar, in a replayed answer too."""
    tokens = bench.read(PROMPT)
    grammar = Grammar(gbnf=CALL, lazy=True, triggers=(trigger,))
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0), grammar=grammar)
    best = int(np.argmax(bench.logits()))
    assert bench.sample(sampler).token == best
    said = bench.model.tokenize(" or so.<call>")
    for token in said:
        sampler.replay(token)
        bench.feed(token)
    assert bench.answer(sampler) in {"red</call>", "green</call>"}


def test_a_token_can_be_the_trigger(bench: Bench) -> None:
    """A control token, which shows nothing, by its id or by its name."""
    tokens = bench.read(PROMPT)
    (mark,) = bench.model.tokenize("<|im_start|>")
    for trigger in (Trigger("token", token=mark), Trigger("word", "<|im_start|>")):
        grammar = Grammar(gbnf='root ::= <|im_start|> "red" | "<|im_start|>" "green"', lazy=True, triggers=(trigger,))
        bench.read(PROMPT)
        sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0), grammar=grammar)
        sampler.replay(bench.model.tokenize(" and")[0])
        sampler.replay(mark)
        bench.feed(mark)
        assert bench.answer(sampler) in {"red", "green"}


def test_what_only_looks_like_a_trigger_is_passed_over(bench: Bench) -> None:
    """Text after the trigger that the grammar does not allow, in the same token, keeps it waiting."""
    (both,) = bench.model.tokenize(" the")
    grammar = Grammar(gbnf='root ::= " t" "x"', lazy=True, triggers=(Trigger("word", " t"),))
    sampler = bench.sampler(sampling=Sampling(temperature=0), grammar=grammar)
    sampler.replay(both)
    sampler.replay(both)
    sampler.close()


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar(gbnf="root ::= root"), "failed to parse grammar.*left recursion"),
        (Grammar(gbnf="nonsense"), "failed to parse grammar"),
        (Grammar(gbnf="root ::= [a]", lazy=True), "no triggers"),
        (Grammar(gbnf="root ::= [a]", lazy=True, triggers=(Trigger("pattern", "(a"),)), "cannot be read"),
        (Grammar(gbnf="root ::= [a]", lazy=True, triggers=(Trigger("token", token=60_000),)), "0 to 49151"),
        (Grammar(gbnf="root ::= [a]", lazy=True, triggers=(Trigger("word", "a"),) * 65), "at most 64"),
        (Grammar(schema={"type": "nonsense"}), "json_schema: schema.type"),
        (Grammar(gbnf="root ::= [a]", schema=True), "both"),
    ],
)
def test_bad_grammars_are_refused(bench: Bench, grammar: Grammar, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        bench.sampler(grammar=grammar)


def test_an_empty_grammar_is_none(bench: Bench) -> None:
    """As if it were not there."""
    tokens = bench.read(PROMPT)
    sampler = bench.sampler(tokens=tokens, sampling=Sampling(temperature=0), grammar=Grammar())
    assert bench.sample(sampler).token == int(np.argmax(bench.logits()))
    sampler.close()


def test_grammars_are_made_ready_once(bench: Bench) -> None:
    """The last sixteen are kept with what was learnt about them."""
    compiler = bench.model.grammars
    first = compiler.compiled(Grammar(schema=SCHEMA))
    assert compiler.compiled(Grammar(schema=dict(SCHEMA))) is first
    for number in range(16):
        compiler.compiled(Grammar(gbnf=f'root ::= "{number}"'))
    assert compiler.compiled(Grammar(schema=SCHEMA)) is not first


def test_what_only_the_engine_knows_is_told_on_request(bench: Bench) -> None:
    """The grammar of a schema, the tokens of a bias's text, the ends that are ignored; a grammar that the params have
    is not told again."""
    biased = Sampling(temperature=0, ignore_eos=True, logit_bias=((" cat", -2.5), (7, None)))
    cases: list[tuple[dict[str, Any], InForce]] = [
        ({"grammar": Grammar(schema={"type": "null"})}, InForce()),
        (
            {"grammar": Grammar(schema={"type": "null"}), "tells_settings": True},
            InForce(json_schema.to_gbnf({"type": "null"})),
        ),
        ({"grammar": Grammar(gbnf='root ::= "a"'), "tells_settings": True}, InForce()),
        ({"tells_settings": True}, InForce()),
        (
            {"sampling": biased, "tells_settings": True},
            InForce(
                "",
                (
                    *((token, -2.5) for token in bench.model.tokenize(" cat")),
                    (7, None),
                    *((token, None) for token in bench.model.end_tokens()),
                ),
            ),
        ),
    ]
    for fields, told in cases:
        sampler = bench.sampler(**fields)
        assert sampler.in_force == told
        sampler.close()
