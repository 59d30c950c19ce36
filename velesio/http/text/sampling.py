"""Sampling fields of text requests, as llama.cpp names them, and the limits of each."""

from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.http.fields import of
from velesio.http.wire import FLOAT_MAX, INT_MAX, bad_field, clamped, convert, number_in, within
from velesio.jobs import Sampling
from velesio.nearest import nearest, quoted

_FIELDS = frozenset(field.name for field in msgspec.structs.fields(Sampling))
_WHOLE = frozenset(field.name for field in msgspec.structs.fields(Sampling) if field.type is int)

_SOFT: dict[str, tuple[float, float]] = {
    "temperature": (0, FLOAT_MAX),
    "dynatemp_range": (0, FLOAT_MAX),
    "dynatemp_exponent": (-FLOAT_MAX, FLOAT_MAX),
    "top_k": (0, INT_MAX),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_n_sigma": (-1, FLOAT_MAX),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (0, FLOAT_MAX),
    "presence_penalty": (-FLOAT_MAX, FLOAT_MAX),
    "frequency_penalty": (-FLOAT_MAX, FLOAT_MAX),
    "dry_multiplier": (0, FLOAT_MAX),
    "dry_base": (0, FLOAT_MAX),
    "dry_allowed_length": (0, INT_MAX),
    "dry_penalty_last_n": (-1, INT_MAX),
    "mirostat": (0, 2),
    "mirostat_tau": (0, FLOAT_MAX),
    "mirostat_eta": (0, FLOAT_MAX),
    "min_keep": (0, INT_MAX),
    "adaptive_target": (-FLOAT_MAX, 1),
}
"""Values outside are moved to the nearest end."""

_HARD: dict[str, tuple[float, float]] = {"repeat_last_n": (0, INT_MAX), "adaptive_decay": (0, 0.99)}
"""Values outside are refused."""

_RANDOM_SEED = 2**32 - 1

_LETTERS = {
    "e": "penalties",
    "d": "dry",
    "s": "top_n_sigma",
    "k": "top_k",
    "y": "typ_p",
    "p": "top_p",
    "m": "min_p",
    "x": "xtc",
    "t": "temperature",
    "i": "infill",
    "a": "adaptive_p",
}
_OTHER_NAMES = {
    "temp": "temperature",
    "typical": "typ_p",
    "typical_p": "typ_p",
    "nucleus": "top_p",
    "min-p": "min_p",
    "top-k": "top_k",
    "top-p": "top_p",
    "top-n-sigma": "top_n_sigma",
    "typ": "typ_p",
    "typ-p": "typ_p",
    "typical-p": "typ_p",
    "adaptive-p": "adaptive_p",
}


def sampling_of(raw: Mapping[str, Any]) -> Sampling:
    """The sampling that a body asks for; what it does not mention has llama.cpp's defaults.

    Raises:
        BadRequest: naming the field.
    """
    given = {name: value for name, value in raw.items() if name in _FIELDS}
    for name, read in _READERS.items():
        if name in given:
            given[name] = read(given[name])
    sampling = convert(given, Sampling)
    return msgspec.structs.replace(sampling, **_limited(sampling, given))


def _limited(sampling: Sampling, given: Mapping[str, Any]) -> dict[str, Any]:
    limited: dict[str, Any] = {"seed": seed_of(sampling.seed)}
    for name in given:
        value = getattr(sampling, name)
        if name in _HARD:
            _refuse_outside(name, value, *_HARD[name])
        elif name in _SOFT:
            moved = clamped(value, *_SOFT[name])
            limited[name] = int(moved) if name in _WHOLE else float(moved)
    return limited


def _refuse_outside(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise bad_field(name, f"Value must be between {low} <= value <= {high}, but got {value}")


def seed_of(seed: int) -> int:
    """A seed as 32 unsigned bits; -1 and 2³²-1 mean a random one, which is -1 in params."""
    wrapped = seed & 0xFFFF_FFFF
    return -1 if wrapped == _RANDOM_SEED else wrapped


def _samplers(value: Any) -> Any:
    """A list of names, or a string with a letter for each."""
    if isinstance(value, str):
        unknown = next((letter for letter in value if letter not in _LETTERS), None)
        if unknown is not None:
            letters = ", ".join(f"{letter} ({name})" for letter, name in _LETTERS.items())
            raise bad_field("samplers", f"no sampler has the letter {unknown!r}; known are {letters}")
        return [_LETTERS[letter] for letter in value]
    if not isinstance(value, list):
        return value
    return [_sampler(name, f"samplers[{index}]") for index, name in enumerate(value)]


def _sampler(name: Any, path: str) -> Any:
    if not isinstance(name, str):
        return name
    known = _OTHER_NAMES.get(name, name)
    if known in _LETTERS.values():
        return known
    near = nearest(name, [*_LETTERS.values(), *_OTHER_NAMES])
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise bad_field(path, f"no sampler is called {quoted(name)}; known are {', '.join(_LETTERS.values())}{meant}")


def _breakers(value: Any) -> Any:
    if value == []:
        raise bad_field("dry_sequence_breakers", "must be a non-empty list of strings")
    return value


def _logit_bias(value: Any) -> list[tuple[int | str, float | None]]:
    """`[[token, bias], …]` or `{token: bias}`; a token is an id or text, the bias false forbids it."""
    if isinstance(value, dict):
        return [
            (token if (number := number_in(token)) is None else number, _bias(bias, f"logit_bias.{token}"))
            for token, bias in value.items()
        ]
    if not isinstance(value, list):
        raise bad_field("logit_bias", 'expected an object like {"15043": -1.5} or a list like [[15043, -1.5]]')
    return [_pair(pair, f"logit_bias[{index}]") for index, pair in enumerate(value)]


def _pair(pair: Any, path: str) -> tuple[int | str, float | None]:
    if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in {int, str}):
        raise bad_field(path, 'expected [token, bias], like [15043, -1.5] or ["Hello", false]')
    token, bias = pair
    if isinstance(token, int):
        within(f"{path}[0]", token, 0)
    return token, _bias(bias, f"{path}[1]")


def _bias(value: Any, path: str) -> float | None:
    if value is False or value is None:
        return None
    if type(value) not in {int, float}:
        raise bad_field(path, "expected a number, or false to forbid the token")
    return clamped(value, -FLOAT_MAX, FLOAT_MAX)


_READERS = {
    "samplers": _samplers,
    "dry_sequence_breakers": _breakers,
    "logit_bias": _logit_bias,
}


_NOTES = {
    "seed": "32 bits; -1: a random one; the same seed gives the same text whatever else is computed",
    "temperature": "at least 0; 0: always the likeliest token",
    "dynatemp_range": "the temperature moves by so much with the entropy; 0: it stays",
    "dynatemp_exponent": "how the entropy moves it",
    "top_k": "only the k likeliest tokens; 0: all",
    "top_p": "only the likeliest tokens that make up p together; 1: all",
    "min_p": "only tokens at least p times as likely as the likeliest; 0: all",
    "top_n_sigma": "only tokens within n standard deviations of the likeliest; negative: all",
    "xtc_probability": "how often the likeliest tokens are left out; 0: never",
    "xtc_threshold": "those above this probability, but for the last of them",
    "typical_p": "only tokens of typical surprise that make up p together; 1: all",
    "repeat_last_n": "tokens that the penalties look back; 0: none; a negative one is refused",
    "repeat_penalty": "divides the logits of tokens that were there; 1: off",
    "presence_penalty": "taken from tokens that were there; 0: off",
    "frequency_penalty": "taken from tokens for each time that they were there; 0: off",
    "dry_multiplier": "strength of the penalty for saying a sequence again; 0: off",
    "dry_base": "how it grows with the length of the sequence",
    "dry_allowed_length": "the longest sequence that is not penalized",
    "dry_penalty_last_n": "tokens that it looks back; -1: all",
    "dry_sequence_breakers": "texts that end a sequence; a list that is not empty",
    "mirostat": "0: off; 1, 2: the version; replaces the other samplers",
    "mirostat_tau": "the surprise that it aims at",
    "mirostat_eta": "how fast it learns",
    "adaptive_target": "the probability that adaptive-p aims at; negative: off",
    "adaptive_decay": "how slowly it forgets; 0 to 0.99",
    "min_keep": "tokens that the samplers leave at least",
    "samplers": "names in the order of use, or a letter for each: "
    + ", ".join(f"{letter} {name}" for letter, name in _LETTERS.items()),
    "logit_bias": '`[[token, bias], …]` or `{"token": bias}`; a token is an id or a text, the bias false forbids it',
    "ignore_eos": "never end by itself",
}

FIELDS = of(Sampling, **_NOTES)
