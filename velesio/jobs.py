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


class Render(msgspec.Struct, frozen=True, tag="render"):
    """Show the prompt that a conversation becomes, and count its tokens, without answering it."""

    chat: Chat


class Tokenize(msgspec.Struct, frozen=True, omit_defaults=True, tag="tokenize"):
    """Turn text into tokens."""

    content: Prompt
    add_special: bool = False
    """Whether the begin and end marks that the model wants are added."""
    parse_special: bool = True
    """Whether the names of control tokens become these."""
    pieces: bool = False
    """Whether the bytes of each token are wanted."""


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """Turn tokens into text."""

    tokens: tuple[int, ...]


class Embed(msgspec.Struct, frozen=True, omit_defaults=True, tag="embed"):
    """Turn texts into vectors."""

    inputs: tuple[Prompt, ...]
    normalize: int = 2
    """-1: as they are; 0: largest absolute value 32760; 2: length 1; others: the p-norm."""
    truncate: bool = False
    """Whether inputs that are too long are cut instead of refused."""
    dimensions: int = 0
    """Leading values of each vector, normalized again; 0: all."""
    media: tuple[bytes, ...] = ()


class Rerank(msgspec.Struct, frozen=True, tag="rerank"):
    """Rate how well documents answer a query."""

    query: str
    documents: tuple[str, ...]


class Slots(msgspec.Struct, frozen=True, omit_defaults=True, tag="slots"):
    """Look at the slots of a worker that serves the model, or save, restore or erase what one of them has cached."""

    action: Literal["list", "save", "restore", "erase"] = "list"
    id_slot: int = -1
    filename: str = ""
    """A plain name in the model's `slot_save_path`."""


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag="image"):
    """Draw pictures."""

    prompt: str
    negative_prompt: str = ""
    width: int = 64
    height: int = 64
    steps: int = 20
    seed: int = -1


Aside = Render | Tokenize | Detokenize | Embed | Rerank | Slots
"""Jobs that hold no slot: they are served beside the generating ones."""
Params = Completion | Infill | Chat | Aside | Image


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
    drafted: int = 0
    """Tokens that were guessed ahead."""
    accepted: int = 0
    """Those of them that were right."""


class Dialect(msgspec.Struct, frozen=True, array_like=True):
    """How the text of an answer tells reasoning and tool calls from what is meant to be read."""

    name: str = ""
    """One of `velesio.dialects`; empty: all of it is content."""
    prefix: str = ""
    """The end of the prompt that belongs to the answer, as where a template opens the reasoning itself."""


class TokenProbs(msgspec.Struct, frozen=True, array_like=True):
    """A token of the answer with how likely it and its rivals were."""

    token: int
    piece: bytes
    logprob: float
    """Natural logarithm of its probability; with `post_sampling_probs` the probability itself."""
    top: tuple[tuple[int, bytes, float], ...] = ()
    """(token, its bytes, the same measure), likeliest first."""


class Started(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The engine admitted the job and found it valid; nothing is computed yet."""

    prompt_tokens: int = 0
    dialect: Dialect = Dialect()


class Delta(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Text that follows what was sent before, and the tokens whose text this is (stop strings and incomplete
    characters are held back, so a token may come with a later delta)."""

    text: str
    tokens: tuple[int, ...] = ()
    predicted: int = 0
    """Tokens generated so far, this delta's included."""
    probs: tuple[TokenProbs, ...] = ()
    """One for each of `tokens`, if they were asked for."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """How far a job is: tokens of its prompt, or steps of its pictures."""

    done: int
    total: int
    cached: int = 0
    """Part of `done` that was not computed again."""
    ms: float = 0.0
    """Milliseconds since the worker began with it."""


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
    dialect: Dialect = Dialect()
    probs: tuple[TokenProbs, ...] = ()


class ImageResult(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What an image job gave: encoded PNG files."""

    pictures: tuple[bytes, ...]
    seeds: tuple[int, ...] = ()


class PromptResult(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What `Render` gave."""

    prompt: str
    tokens: int
    dialect: Dialect = Dialect()


class TokensResult(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What `Tokenize` gave."""

    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


class DetokenizedResult(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """What `Detokenize` gave."""

    text: str


class EmbedResult(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """What `Embed` gave: for each input a matrix of little-endian 32-bit floats, row after row: one row, or without
    pooling one for each token."""

    matrices: tuple[bytes, ...]
    dimensions: int
    """Values of a row."""
    tokens: tuple[int, ...]
    """Tokens of each input."""
    pooled: bool = True


class RerankResult(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What `Rerank` gave."""

    scores: tuple[float, ...]
    """Of each document, in the order asked; higher is better."""
    tokens: int = 0


class SlotsResult(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What `Slots` gave."""

    slots: tuple[dict[str, Any], ...] = ()
    """For `list`: as llama.cpp's server describes them."""
    tokens: int = 0
    """Tokens saved, restored or erased."""
    bytes: int = 0
    """Written or read."""
    ms: float = 0.0


Result = (
    TextResult
    | ImageResult
    | PromptResult
    | TokensResult
    | DetokenizedResult
    | EmbedResult
    | RerankResult
    | SlotsResult
)


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
