"""What jobs give: one result for each kind, and the counts that come with it."""

from typing import Any, Literal

import msgspec


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
    drafts: int = 0
    """Times that tokens were guessed ahead."""
    accepted_at: tuple[int, ...] = ()
    """Of the first, the second … token of each of those drafts: how often it was right. Their sum is `accepted`."""


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


class InForce(msgspec.Struct, frozen=True, array_like=True):
    """What an engine made of params that only it can read."""

    grammar: str = ""
    """GBNF for the schema or the tool calls that the answer was held to; empty: the params have it, or nothing was."""
    logit_bias: tuple[tuple[int, float | None], ...] = ()
    """(token, its bias; None: it was forbidden), texts as their tokens, with the ends that were ignored."""


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
    in_force: InForce = InForce()


class ImageResult(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What an image job gave: picture files, whose `parameters` text (PNG) or comment (JPEG, WebP) says how they were
    made."""

    pictures: tuple[bytes, ...]
    seeds: tuple[int, ...] = ()
    subseeds: tuple[int, ...] = ()
    infotexts: tuple[str, ...] = ()
    """That text of each picture."""
    width: int = 0
    """Pixels of the pictures."""
    height: int = 0
    maps: tuple[bytes, ...] = ()
    """PNG files: what preprocessors made of the controls' pictures."""
    facts: dict[str, Any] = {}
    """Checkpoint, its hash, sampler, schedule and whatever else the text names, by the names it uses."""
    notes: tuple[str, ...] = ()
    """What was done otherwise than asked, in words."""
    prompt_tokens: int = 0
    masks: tuple[bytes, ...] = ()
    """PNG files, where they are wanted: of each picture its mask, and what was made inside of it."""


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
