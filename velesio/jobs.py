"""A job: what is asked (params), who asks, and the events that answer it.

One job is one sequence of tokens or one set of pictures. A request for several (OpenAI's `n`, a list of prompts)
is several jobs, which workers may share. Params and events travel as msgpack: params as maps, so that releases can
add fields; events as arrays, since one is sent for each token. New fields go to the end and have defaults.
"""

import enum
import secrets
import time
from typing import Any, Literal

import msgspec

Capability = Literal["text", "image"]
Prompt = str | list[int | str]
"""Text, or a list whose integers are token ids and whose strings are tokenized in place."""


class Priority(enum.IntEnum):
    """Lower is served first; weighted, so that batch never starves."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class JobState(enum.StrEnum):
    """Where a job is. `scheduled`, `queued` and `running` are live; the others are final."""

    SCHEDULED = "s"
    QUEUED = "q"
    RUNNING = "r"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job can no longer change."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


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


class Completion(msgspec.Struct, frozen=True, omit_defaults=True, tag="completion"):
    """Continue a prompt."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: int = -1
    """Tokens to generate at most; -1: until the model ends or the context is full; 0: only evaluate the prompt."""
    stop: tuple[str, ...] = ()
    cache_prompt: bool = True
    id_slot: int = -1


class Chat(msgspec.Struct, frozen=True, omit_defaults=True, tag="chat"):
    """Answer a conversation; the worker renders it with the model's own template."""

    messages: list[dict[str, Any]]
    sampling: Sampling = Sampling()
    max_tokens: int = -1
    stop: tuple[str, ...] = ()
    cache_prompt: bool = True
    id_slot: int = -1
    template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag="image"):
    """Draw pictures."""

    prompt: str
    negative_prompt: str = ""
    width: int = 64
    height: int = 64
    steps: int = 20
    seed: int = -1


Params = Completion | Chat | Image


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work. The broker stores every field but `params` as a hash field of its own."""

    id: str
    model: str
    capability: Capability
    params: Params
    tenant: str = "default"
    priority: Priority = Priority.NORMAL
    cost: float = 1.0
    """What it counts in the fair shares: estimated tokens in thousands, or megapixel-steps."""
    deadline: float = 0.0
    """Unix seconds; 0 lets the queue set its default."""
    gateway: str = ""
    """The gateway whose reply stream wants the events; empty: nobody waits, only the result is kept."""
    stream: bool = False
    """Whether events before the final one are wanted."""
    sent: tuple[int, ...] = ()
    """Tokens that a lost worker already sent and the client has: continue after them."""
    request: bytes = b""
    """What was asked, in the gateway's own words, for the one who writes the answer when it is fetched later."""

    @classmethod
    def new(cls, model: str, params: Params, **fields: Any) -> "Job":
        """A job with a fresh id."""
        capability: Capability = "image" if isinstance(params, Image) else "text"
        return cls(id=new_id(), model=model, capability=capability, params=params, **fields)


def new_id() -> str:
    """A job id: 12 hex digits of milliseconds, so that ids sort by time, and 80 random bits."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(10)}"


def born(job_id: str) -> float:
    """When an id was made, in unix seconds."""
    return int(job_id[:12], 16) / 1000


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens, for limits and bills."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens` that was not computed again."""


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Milliseconds on the worker's monotonic clock."""

    prompt_ms: float = 0.0
    predicted_ms: float = 0.0


class Started(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The engine admitted the job and found it valid; nothing is computed yet."""

    prompt_tokens: int = 0


class Delta(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Text that follows what was sent before, and the tokens whose text this is (stop strings and incomplete
    characters are held back, so a token may come with a later delta)."""

    text: str
    tokens: tuple[int, ...] = ()
    predicted: int = 0
    """Tokens generated so far, this delta's included."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """How far a job is."""

    done: int
    total: int


class TextResult(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What a completion or chat gave."""

    text: str
    tokens: tuple[int, ...] = ()
    stop: Literal["eos", "limit", "word"] = "eos"
    stopping_word: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    truncated: bool = False
    """Whether generation ended because the context was full."""
    slot: int = 0
    seed: int = 0
    prompt: str = ""
    """The prompt's text as the model saw it, where the params did not hold it (token ids, chat)."""


class ImageResult(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What an image job gave: encoded PNG files."""

    pictures: tuple[bytes, ...]
    seeds: tuple[int, ...] = ()


Result = TextResult | ImageResult


class Completed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Final: the job is done."""

    result: Result


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Final: the job failed with a code of `velesio.errors`."""

    code: str
    message: str
    retry: bool = False
    """Whether another attempt could succeed (a crash of the engine, not a bad request)."""
    details: dict[str, Any] = {}
    traceback: str = ""
    """For the dead letters; never sent to clients."""


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Final: somebody cancelled the job."""

    reason: str = ""


Final = Completed | Failed | Cancelled
Event = Started | Delta | Progress | Completed | Failed | Cancelled


def is_final(event: Event) -> bool:
    """Whether nothing follows `event`."""
    return isinstance(event, Completed | Failed | Cancelled)
