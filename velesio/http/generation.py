"""What every text request may say beside its prompt: model, stream, limit, stops, choices and their sampling."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from velesio.http.prompts import prompts_of
from velesio.http.sampling import sampling_of
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Completion, Sampling

MOST_ANSWERS = 128
"""To one request: prompts times choices."""

_LIMIT_NAMES = ("n_predict", "max_completion_tokens", "max_tokens")
_CHOICE_NAMES = ("n_cmpl", "n")
_SEEDS = 2**32 - 1


class _Body(msgspec.Struct):
    model: str = ""
    stream: bool = False
    stop: str | list[str] = []
    cache_prompt: bool = True
    id_slot: int = -1
    n_predict: int = -1
    max_completion_tokens: int = -1
    max_tokens: int = -1
    n_cmpl: int = 1
    n: int = 1
    sse_ping_interval: float | None = None


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer, whatever the prompt is."""

    model: str
    stream: bool
    max_tokens: int
    stop: tuple[str, ...]
    cache_prompt: bool
    id_slot: int
    samplings: tuple[Sampling, ...]
    """One for each choice."""
    ping_interval: float | None
    """Seconds; None: the server's."""

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return len(self.samplings)


def generation_of(raw: Mapping[str, Any]) -> Generation:
    """The generation fields of a body. A field's names are read in llama.cpp's order.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, _Body)
    sampling = sampling_of(raw)
    choices = _first(raw, body, _CHOICE_NAMES, 1, MOST_ANSWERS)
    return Generation(
        model=body.model,
        stream=body.stream,
        max_tokens=_first(raw, body, _LIMIT_NAMES, -1),
        stop=stops_of(body.stop),
        cache_prompt=body.cache_prompt,
        id_slot=within("id_slot", body.id_slot, -1),
        samplings=tuple(_of_choice(sampling, choice) for choice in range(choices)),
        ping_interval=body.sse_ping_interval,
    )


def _of_choice(sampling: Sampling, choice: int) -> Sampling:
    """With a fixed seed each choice has the next one: equal seeds would give equal answers."""
    if choice == 0 or sampling.seed < 0:
        return sampling
    return msgspec.structs.replace(sampling, seed=(sampling.seed + choice) % _SEEDS)


def _first(raw: Mapping[str, Any], body: _Body, names: Sequence[str], low: int, high: int = INT_MAX) -> int:
    name = next((name for name in names if name in raw), names[0])
    value: int = getattr(body, name)
    return within(name, value, low, high)


def stops_of(value: str | list[str]) -> tuple[str, ...]:
    """Stop strings from a string or a list; empty ones would stop at once and are left out."""
    return tuple(stop for stop in ([value] if isinstance(value, str) else value) if stop)


def completions_of(raw: Mapping[str, Any], generation: Generation) -> list[Completion]:
    """A completion for each prompt of the body and each choice, those of one prompt together.

    Raises:
        BadRequest: there is no prompt, or a bad one, or too many.
    """
    if "prompt" not in raw:
        raise bad_field("prompt", "is required: a string, a list of token ids, or a list of those")
    prompts = prompts_of(raw["prompt"])
    if len(prompts) * generation.choices > MOST_ANSWERS:
        raise bad_field(
            "prompt", f"{len(prompts)} prompts with {generation.choices} answers each; at most {MOST_ANSWERS} in all"
        )
    return [
        Completion(
            prompt=prompt,
            sampling=sampling,
            max_tokens=generation.max_tokens,
            stop=generation.stop,
            cache_prompt=generation.cache_prompt,
            id_slot=generation.id_slot,
        )
        for prompt in prompts
        for sampling in generation.samplings
    ]
