"""How the next token is chosen: `Sampling` as a list of steps, each one sampler of llama.cpp with its arguments."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from velesio.errors import BadRequest
from velesio.jobs import Sampling

_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's own word for "draw a seed"."""
_MAX_BREAKERS = 16
"""llama.cpp searches the whole vocabulary for each, up to 34 ms, while everybody waits."""


class Step(NamedTuple):
    """One sampler: `llama_sampler_init_<name>(*arguments)`."""

    name: str
    arguments: tuple[Any, ...] = ()


class Plan(NamedTuple):
    """A sampler chain and what its samplers must know of the past."""

    steps: tuple[Step, ...]
    seed: int
    history: int
    """Latest tokens of prompt and answer that the penalties look at."""
    is_greedy: bool = False
    """Whether the likeliest token is always chosen."""

    unwanted: frozenset[int] | None = None
    """Where the model's likeliest token is the choice unless it is one of these: the tokens that a bias makes less
    likely. None: more than that decides."""

    biases: tuple[tuple[int, float], ...] = ()
    """(token, what was asked to be added to its logit), ends that are to be ignored included."""


def seed_of(seed: int) -> int:
    """The seed in use: 32 bits, drawn where the caller gave none."""
    seed = secrets.randbelow(_RANDOM_SEED) if seed < 0 else seed & 0xFFFFFFFF
    return seed if seed != _RANDOM_SEED else secrets.randbelow(_RANDOM_SEED)


def plan(
    sampling: Sampling,
    *,
    context: int,
    tokenize: Callable[[str], Iterable[int]],
    end_tokens: Callable[[], Iterable[int]],
    vocabulary: int,
    suppressed: Iterable[int] = (),
) -> Plan:
    """The chain for `sampling` over a vocabulary of `vocabulary` tokens, those that are `suppressed` never chosen;
    samplers that would do nothing are left out.

    Raises:
        BadRequest: for an unknown sampler or a token id that the model does not have.
    """
    seed = seed_of(sampling.seed)
    greedy = sampling.temperature <= 0
    asked = _biases(sampling, tokenize, end_tokens, vocabulary)
    biases = asked + tuple((token, float("-inf")) for token in suppressed)
    steps = [Step("logit_bias", (biases,))] if biases else []
    if sampling.mirostat and not greedy:
        steps += _mirostat(sampling, seed)
    else:
        for name in sampling.samplers:
            if name not in _SAMPLERS:
                known = ", ".join(_SAMPLERS)
                raise BadRequest(f"unknown sampler {name!r}; known are {known}", param="samplers")
            if not (greedy and name in _KEEP_THE_BEST):
                steps += _SAMPLERS[name](sampling, context, seed)
        steps.append(Step("greedy") if greedy else _last_step(sampling, seed))
    plain = greedy and len(steps) == 1 + bool(biases) and all(bias <= 0 for _, bias in biases)
    unwanted = frozenset(token for token, _ in biases) if plain else None
    return Plan(tuple(steps), seed, max((_history(step) for step in steps), default=0), greedy, unwanted, asked)


def _biases(
    sampling: Sampling,
    tokenize: Callable[[str], Iterable[int]],
    end_tokens: Callable[[], Iterable[int]],
    vocabulary: int,
) -> tuple[tuple[int, float], ...]:
    """(token id, bias), with texts tokenized and forbidden tokens at minus infinity."""
    biases: list[tuple[int, float]] = []
    for key, value in sampling.logit_bias:
        bias = float("-inf") if value is None else value
        ids = tokenize(key) if isinstance(key, str) else (key,)
        for token in ids:
            if not 0 <= token < vocabulary:
                raise BadRequest(
                    f"logit_bias: there is no token {token}; ids are 0 to {vocabulary - 1}",
                    param="logit_bias",
                )
            biases.append((token, bias))
    if sampling.ignore_eos:
        biases += [(token, float("-inf")) for token in end_tokens()]
    return tuple(biases)


def _last_step(sampling: Sampling, seed: int) -> Step:
    """Adaptive-p, wherever it stands in the list, chooses in the place of the plain draw; it needs a target."""
    if "adaptive_p" in sampling.samplers and sampling.adaptive_target >= 0:
        return Step("adaptive_p", (min(1.0, sampling.adaptive_target), sampling.adaptive_decay, seed))
    return Step("dist", (seed,))


def _mirostat(sampling: Sampling, seed: int) -> list[Step]:
    """Mirostat replaces the chain; it needs probabilities over the whole vocabulary."""
    heat = Step("temp", (sampling.temperature,))
    tau, eta = sampling.mirostat_tau, sampling.mirostat_eta
    if sampling.mirostat == 1:
        return [heat, Step("mirostat", (seed, tau, eta, 100))]
    if sampling.mirostat == 2:
        return [heat, Step("mirostat_v2", (seed, tau, eta))]
    raise BadRequest(f"mirostat is 0, 1 or 2, not {sampling.mirostat}", param="mirostat")


def _history(step: Step) -> int:
    """How many past tokens a step looks at."""
    if step.name == "penalties":
        return int(step.arguments[0])
    return int(step.arguments[3]) if step.name == "dry" else 0


def _last(count: int, context: int) -> int:
    return context if count < 0 else min(count, context)


def _penalties(sampling: Sampling, context: int, _seed: int) -> list[Step]:
    last = _last(sampling.repeat_last_n, context)
    values = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if sampling.repeat_penalty <= 0:
        raise BadRequest("repeat_penalty must be greater than 0 (1 is off)", param="repeat_penalty")
    return [Step("penalties", (last, *values))] if last and values != (1.0, 0.0, 0.0) else []


def _dry(sampling: Sampling, context: int, _seed: int) -> list[Step]:
    last = _last(sampling.dry_penalty_last_n, context)
    if not (last and sampling.dry_multiplier):
        return []
    if len(sampling.dry_sequence_breakers) > _MAX_BREAKERS:
        raise BadRequest(f"at most {_MAX_BREAKERS} dry_sequence_breakers", param="dry_sequence_breakers")
    breakers = tuple(text.encode() for text in sampling.dry_sequence_breakers)
    base = sampling.dry_base if sampling.dry_base >= 1 else Sampling().dry_base
    return [Step("dry", (sampling.dry_multiplier, base, sampling.dry_allowed_length, last, breakers))]


def _top_n_sigma(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("top_n_sigma", (sampling.top_n_sigma,))] if sampling.top_n_sigma > 0 else []


def _top_k(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("top_k", (sampling.top_k,))] if sampling.top_k > 0 else []


def _typ_p(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("typical", (sampling.typical_p, sampling.min_keep))] if sampling.typical_p < 1 else []


def _top_p(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("top_p", (sampling.top_p, sampling.min_keep))] if sampling.top_p < 1 else []


def _min_p(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("min_p", (sampling.min_p, sampling.min_keep))] if sampling.min_p > 0 else []


def _xtc(sampling: Sampling, _context: int, seed: int) -> list[Step]:
    values = (sampling.xtc_probability, sampling.xtc_threshold, sampling.min_keep, seed)
    return [Step("xtc", values)] if sampling.xtc_probability > 0 and sampling.xtc_threshold <= 0.5 else []


def _temperature(sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    if sampling.dynatemp_range > 0:
        values = (sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent)
        return [Step("temp_ext", values)]
    return [Step("temp", (sampling.temperature,))] if sampling.temperature != 1 else []


def _infill(_sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return [Step("infill")]


def _adaptive_p(_sampling: Sampling, _context: int, _seed: int) -> list[Step]:
    return []  # see _last_step


_SAMPLERS: dict[str, Callable[[Sampling, int, int], list[Step]]] = {
    "penalties": _penalties,
    "dry": _dry,
    "top_n_sigma": _top_n_sigma,
    "top_k": _top_k,
    "typ_p": _typ_p,
    "top_p": _top_p,
    "min_p": _min_p,
    "xtc": _xtc,
    "temperature": _temperature,
    "infill": _infill,
    "adaptive_p": _adaptive_p,
}

_KEEP_THE_BEST = frozenset({"top_n_sigma", "top_k", "top_p", "min_p", "temperature"})
"""Samplers that never drop the likeliest token, so that a greedy choice needs none of them."""
