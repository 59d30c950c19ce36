"""Params of jobs that generate text."""

from typing import Any

import msgspec

from velesio.jobs.sampling import Grammar, Sampling

Prompt = str | list[int | str]
"""Text, or a list whose integers are token ids and whose strings are tokenized in place."""


class TextParams(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What every job that generates text may ask for."""

    sampling: Sampling = Sampling()
    max_tokens: int = -1
    """Tokens to generate at most; -1: until the model ends or the context is full; 0: only evaluate the prompt."""
    stop: tuple[str, ...] = ()
    cache_prompt: bool = True
    id_slot: int = -1
    n_keep: int = 0
    """Tokens of the prompt that a context shift keeps; -1: all of them."""
    n_discard: int = 0
    """Tokens that a context shift gives up after those; 0: half of the rest."""
    shift: bool | None = None
    """Whether generation goes on when the context is full, without its oldest tokens; None: the model's option."""
    grammar: Grammar | None = None
    n_probs: int = 0
    """The likeliest tokens that are reported with each token of the answer; 0: none is."""
    post_sampling_probs: bool = False
    """Report probabilities after the samplers instead of log probabilities before them."""
    lora: tuple[tuple[int, float], ...] | None = None
    """(adapter id, scale), those not named at 0; None: the scales of the model's options."""
    max_seconds: float = 0.0
    """Seconds of generation after which the next line break ends it; 0: no limit."""
    n_indent: int = 0
    """Ends the answer at a line that is indented by less; 0: never."""
    return_progress: bool = False
    """Send `Progress` while the prompt is computed."""
    tells_settings: bool = False
    """Tell with the result what is `InForce`."""
    keep_alive: float | None = None
    """Seconds after this job at which the model is unloaded if no other comes; 0: at once, negative: never, None: as
    before."""


class Completion(TextParams, frozen=True, omit_defaults=True, tag="completion"):
    """Continue a prompt."""

    prompt: Prompt
    media: tuple[bytes, ...] = ()
    """Pictures or sounds (files), one for each media marker in the prompt."""


class Infill(TextParams, frozen=True, omit_defaults=True, tag="infill"):
    """Fill the gap between two pieces of code."""

    prefix: str = ""
    suffix: str = ""
    prompt: str = ""
    """What the gap begins with."""
    extra: tuple[tuple[str, str], ...] = ()
    """(name, text) of other files, for models that were trained with them."""


class Chat(TextParams, frozen=True, omit_defaults=True, tag="chat"):
    """Answer a conversation; the worker renders it with the model's own template."""

    messages: list[dict[str, Any]]
    """OpenAI's messages; pictures and sounds in them as parts `{"type": "media", "media": index}`."""
    template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True
    tools: tuple[dict[str, Any], ...] = ()
    """OpenAI's tools."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=name` for one certain function."""
    parallel_tool_calls: bool | None = None
    """Whether the answer may call several; None: as the template likes."""
    reasoning_budget: int = -1
    """Tokens of reasoning, after which it is ended; -1: no limit; 0: none at all."""
    continue_final: bool | None = None
    """Whether a last message of the assistant is the answer's begin; None: yes, where it is the last."""
    media: tuple[bytes, ...] = ()
