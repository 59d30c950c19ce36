"""Params of jobs that hold no slot: tokens, prompts, embeddings, ratings, what slots hold."""

from typing import Literal

import msgspec

from velesio.jobs.text import Chat, Prompt


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
    keep_alive: float | None = None
    """As that of `TextParams`."""


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


Aside = Render | Tokenize | Detokenize | Embed | Rerank | Slots
"""They are served beside the generating jobs."""
