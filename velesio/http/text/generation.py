"""What every text request may say beside its prompt: model, stream, limits, stops, choices and their sampling."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from velesio.http.fields import given, of, passed
from velesio.http.operations import Group
from velesio.http.text.grammar import FIELDS as GRAMMAR_FIELDS
from velesio.http.text.logprobs import FIELDS as PROBS_FIELDS
from velesio.http.text.logprobs import Probs
from velesio.http.text.prompts import prompts_of
from velesio.http.text.sampling import FIELDS as SAMPLING_FIELDS
from velesio.http.text.sampling import sampling_of
from velesio.http.wire import FLOAT_MAX, INT_MAX, bad_field, clamped, convert, explain_type, within
from velesio.jobs import Completion, Grammar, Sampling, TextParams

MOST_ANSWERS = 128
"""To one request: prompts times choices."""

_LIMIT_NAMES = ("n_predict", "max_completion_tokens", "max_tokens")
_CHOICE_NAMES = ("n_cmpl", "n")
_SEEDS = 2**32 - 1
_PARAMS = tuple(field.name for field in msgspec.structs.fields(TextParams) if field.name != "sampling")

_P = TypeVar("_P", bound=TextParams)


class Body(msgspec.Struct):
    """The fields that are read here."""

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
    n_keep: int = 0
    n_discard: int = 0
    n_indent: int = 0
    t_max_predict_ms: float = -1.0
    return_progress: bool = False
    timings_per_token: bool = False
    verbose: bool = False
    sse_ping_interval: float | None = None


class _Scale(msgspec.Struct):
    id: int
    scale: float = 0.0


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer, whatever the prompt is."""

    model: str
    stream: bool
    text: TextParams
    """What every job has, but for the sampling."""
    samplings: tuple[Sampling, ...]
    """One for each choice."""
    ping_interval: float | None
    """Seconds; None: the server's."""
    timings_per_token: bool = False
    verbose: bool = False
    """Whether OpenAI's answers hold llama.cpp's own as well, as `__verbose`."""

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return len(self.samplings)

    def each(self, kind: type[_P], **own: Any) -> list[_P]:
        """Params of a kind of job for each choice; `own` are the fields that this kind has, or those it has instead."""
        fields = {name: getattr(self.text, name) for name in _PARAMS} | own
        return [kind(sampling=sampling, **fields) for sampling in self.samplings]


def generation_of(
    raw: Mapping[str, Any],
    grammar: Grammar | None = None,
    probs: Probs = Probs(),  # noqa: B008 - frozen
    *,
    tells_settings: bool = False,
) -> Generation:
    """The generation fields of a body. A field's names are read in llama.cpp's order; what `grammar` and `probs` are
    called differs from route to route. `tells_settings`: the answer does, even without `verbose`.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, Body)
    sampling = sampling_of(raw)
    choices = _first(raw, body, _CHOICE_NAMES, 1, MOST_ANSWERS)
    text = TextParams(
        max_tokens=_first(raw, body, _LIMIT_NAMES, -1),
        stop=stops_of(body.stop),
        cache_prompt=body.cache_prompt,
        id_slot=within("id_slot", body.id_slot, -1),
        n_keep=within("n_keep", body.n_keep, -1),
        n_discard=within("n_discard", body.n_discard, 0),
        lora=lora_of(raw.get("lora")),
        max_seconds=clamped(body.t_max_predict_ms, 0, FLOAT_MAX) / 1000,
        n_indent=max(0, within("n_indent", body.n_indent, -1)),
        return_progress=body.return_progress,
        tells_settings=tells_settings or body.verbose,
        grammar=grammar,
        n_probs=probs.n,
        post_sampling_probs=probs.post,
    )
    return Generation(
        model=body.model,
        stream=body.stream,
        text=text,
        samplings=tuple(_of_choice(sampling, choice) for choice in range(choices)),
        ping_interval=body.sse_ping_interval,
        timings_per_token=body.timings_per_token,
        verbose=body.verbose,
    )


def _of_choice(sampling: Sampling, choice: int) -> Sampling:
    """With a fixed seed each choice has the next one: equal seeds would give equal answers."""
    if choice == 0 or sampling.seed < 0:
        return sampling
    return msgspec.structs.replace(sampling, seed=(sampling.seed + choice) % _SEEDS)


def _first(raw: Mapping[str, Any], body: Body, names: Sequence[str], low: int, high: int = INT_MAX) -> int:
    name = next((name for name in names if name in raw), names[0])
    value: int = getattr(body, name)
    return within(name, value, low, high)


def stops_of(value: str | list[str]) -> tuple[str, ...]:
    """Stop strings from a string or a list; empty ones would stop at once and are left out."""
    return tuple(stop for stop in ([value] if isinstance(value, str) else value) if stop)


def lora_of(value: Any, path: str = "lora") -> tuple[tuple[int, float], ...] | None:
    """Scales of adapters, `[{"id": 0, "scale": 0.5}]`; those not named are at 0. None: as they are set for all.

    Raises:
        BadRequest: naming the item.
    """
    if value is None:
        return None
    try:
        scales = msgspec.convert(value, list[_Scale])
    except msgspec.ValidationError as error:
        raise explain_type(str(error), path) from None
    for index, scale in enumerate(scales):
        within(f"{path}[{index}].id", scale.id, 0)
    return tuple((scale.id, clamped(scale.scale, -FLOAT_MAX, FLOAT_MAX)) for scale in scales)


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
    return [one for prompt, media in prompts for one in generation.each(Completion, prompt=prompt, media=media)]


_NOTES = {
    "model": "a name or alias of `GET /models`; empty: the first",
    "stream": "send the answer piece by piece",
    "stop": "a string or a list, at most 128; ends the answer, which does not hold it",
    "cache_prompt": "use prompts computed before, and keep this one for others",
    "id_slot": "the slot to run in; -1: any",
    "n_predict": "most tokens of an answer; -1: until it ends or the context is full; 0: only compute the prompt",
    "max_completion_tokens": "the same, if `n_predict` is not given",
    "max_tokens": "the same, if neither is given",
    "n_cmpl": f"answers to each prompt; prompts times answers are at most {MOST_ANSWERS}",
    "n": "the same, if `n_cmpl` is not given",
    "n_keep": "tokens of the prompt that a context shift keeps; -1: all",
    "n_discard": "tokens that a context shift gives up; 0: half of the rest",
    "n_indent": "ends at a line that is indented by less; 0: never",
    "t_max_predict_ms": "milliseconds of generation after which the next line break ends it; -1: never",
    "return_progress": "a stream begins with `prompt_progress`",
    "timings_per_token": "`timings` with each piece of a stream",
    "verbose": "OpenAI's answers hold llama.cpp's own as `__verbose`",
    "sse_ping_interval": "seconds of silence after which a stream is kept alive; -1: never; as the server has it",
}

FIELDS = of(Body, **_NOTES) | {
    "lora": given(list[_Scale] | None, "scales of LoRA adapters, those not named at 0; as they are set for all"),
    "n_cache_reuse": passed("what was computed before is used as far as the beginnings are equal"),
    "backend_sampling": passed("the engine decides where it samples"),
}

GENERATION = Group("Generation", FIELDS, "Fields of every route that generates text.")
SAMPLING = Group(
    "Sampling",
    SAMPLING_FIELDS | GRAMMAR_FIELDS | PROBS_FIELDS,
    "How tokens are chosen; see [text sampling](../text-sampling.md). Values outside a soft limit are moved into it.",
)
