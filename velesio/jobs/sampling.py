"""How the tokens of an answer are chosen, and what the answer must look like."""

from typing import Any, Literal

import msgspec


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen. Names, defaults and meaning are llama.cpp's (`temperature` 0 is greedy)."""

    seed: int = -1
    """-1 draws one; otherwise the same seed gives the same text whatever else is in the batch."""
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    """The probability that adaptive-p aims at; negative: off."""
    adaptive_decay: float = 0.9
    min_keep: int = 0
    samplers: tuple[str, ...] = (
        "penalties",
        "dry",
        "top_n_sigma",
        "top_k",
        "typ_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
    )
    logit_bias: tuple[tuple[int | str, float | None], ...] = ()
    """(token id or text, bias); None forbids the token."""
    ignore_eos: bool = False


class Trigger(msgspec.Struct, frozen=True, array_like=True):
    """What sets a lazy grammar in force. The answer before it is free; the grammar begins with the trigger itself."""

    kind: Literal["token", "word", "pattern", "pattern_full"]
    """A token of the answer; a text in it; a regular expression found in it, or matched by all of it (the grammar
    then begins where the first group does)."""
    value: str = ""
    token: int = -1


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer must look like. At most one of `gbnf` and `schema` is given."""

    gbnf: str = ""
    """llama.cpp's grammar notation; its rule `root` is the answer."""
    schema: dict[str, Any] | bool | None = None
    """A JSON schema that the answer is valid against."""
    lazy: bool = False
    """In force only from a trigger on."""
    triggers: tuple[Trigger, ...] = ()
    preserved: tuple[str, ...] = ()
    """Control tokens whose text belongs to the answer instead of being hidden."""
