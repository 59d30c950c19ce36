"""Conditioning: what a UNet is told of a prompt: the states of its text encoders, weighed and put together."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from velesio.backends.diffusion import prompt
from velesio.backends.diffusion.chunks import Chunk, Marks, chunked, empty
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.families import Encoder, Family
from velesio.backends.diffusion.inversions import Inversions
from velesio.backends.diffusion.text_encoder import States, TextEncoder
from velesio.backends.diffusion.tokenizer import Tokenizer

Emphasis = Literal["original", "no_norm", "ignore", "none"]


class Context(NamedTuple):
    """One prompt for the UNet."""

    states: Tensor
    """[tokens, width], 77 tokens a chunk."""
    pooled: Tensor | None
    """[width] of all of it in one vector, for families that want it."""


class Style(NamedTuple):
    """How texts are read."""

    clip_skip: int = 1
    clip_skip_xl: bool = False
    """Whether clip skip moves the encoders, too, that it moves only when asked."""
    emphasis: Emphasis = "original"
    backtrack: int = 20


class Reader(NamedTuple):
    """A text encoder with its tokenizer."""

    encoder: TextEncoder
    tokenizer: Tokenizer
    use: Encoder

    @property
    def marks(self) -> Marks:
        """Its special tokens; rows have room for two fewer than it has positions."""
        words = self.tokenizer
        pad = words.end if self.use.pads_with_end else 0
        return Marks(words.begin, words.end, words.comma, pad, self.encoder.shape.positions - 2)


class Conditioner:
    """All text encoders of a checkpoint."""

    def __init__(self, readers: Sequence[Reader], family: Family, device: Device, inversions: Inversions) -> None:
        self.readers = tuple(readers)
        self._family = family
        self._device = device
        self._inversions = inversions

    def tokens(self, text: str) -> int:
        """How many tokens a text has, marks not counted."""
        return len(self.readers[0].tokenizer.encode(text))

    @torch.inference_mode()
    def contexts(self, texts: Sequence[str], style: Style, *, negative: bool = False) -> list[Context]:
        """The variants of one prompt, all of as many chunks as the longest has.

        They are weighed together, as one prompt's variants and nobody else's.
        """
        parts = [_parts(text, style.emphasis) for text in texts]
        states, pooled = [], None
        for reader in self.readers:
            found, whole = self._read(reader, parts, style)
            states.append(found)
            pooled = whole if whole is not None else pooled
        length = max(state.shape[1] for state in states)
        joined = torch.cat([_lengthened(state, length) for state in states], dim=-1)
        if negative and self._family.zeroes_empty and not any(text.strip() for text in texts):
            joined = torch.zeros_like(joined)
            pooled = None if pooled is None else torch.zeros_like(pooled)
        return [Context(row, None if pooled is None else pooled[number]) for number, row in enumerate(joined)]

    @torch.inference_mode()
    def padded(self, context: Context, tokens: int, style: Style) -> Context:
        """The context with empty chunks behind it, up to so many tokens."""
        if context.states.shape[0] >= tokens:
            return context
        blank = self.contexts([""], style)[0].states
        rows = [context.states]
        while sum(row.shape[0] for row in rows) < tokens:
            rows.append(blank)
        return Context(torch.cat(rows)[:tokens], context.pooled)

    def _read(
        self, reader: Reader, variants: Sequence[tuple[prompt.Part, ...]], style: Style
    ) -> tuple[Tensor, Tensor | None]:
        """[variants, tokens, width] and, where the encoder has it, [variants, projection] of the first chunks."""
        marks = reader.marks
        known = self._inversions.known(reader.tokenizer, reader.encoder.shape.width)
        rows = [chunked(parts, reader.tokenizer.encode, marks, known, backtrack=style.backtrack) for parts in variants]
        count = max(len(row) for row in rows)
        rows = [[*row, *[empty(marks)] * (count - len(row))] for row in rows]
        self._device.enter(reader.encoder)
        try:
            found = [self._chunk(reader, [row[number] for row in rows], style) for number in range(count)]
        finally:
            self._device.leave(reader.encoder)
        return torch.cat([state for state, _ in found], dim=1), found[0][1]

    def _chunk(self, reader: Reader, chunks: Sequence[Chunk], style: Style) -> tuple[Tensor, Tensor | None]:
        place = reader.encoder.text_model.embeddings.token_embedding.weight.device
        vectors = reader.encoder.vectors(torch.tensor([chunk.tokens for chunk in chunks], device=place))
        self._put_inversions(vectors, chunks)
        ends = torch.tensor([chunk.end for chunk in chunks], device=place)
        states = reader.encoder.forward(vectors, ends)
        state = _layer(reader, states, style)
        return _weighed(state, chunks, style.emphasis), states.pooled

    def _put_inversions(self, vectors: Tensor, chunks: Sequence[Chunk]) -> None:
        for row, chunk in enumerate(chunks):
            for each in chunk.vectors:
                found = self._inversions.vectors(each.name, vectors.shape[-1])
                end = min(each.place + len(found), vectors.shape[1] - 1)
                vectors[row, each.place : end] = found[: end - each.place].to(vectors)


def _parts(text: str, emphasis: Emphasis) -> tuple[prompt.Part, ...]:
    """`none` reads brackets as text."""
    return (prompt.Part(text),) if emphasis == "none" else prompt.parts(text)


def _layer(reader: Reader, states: States, style: Style) -> Tensor:
    """The state that the family uses: its own, or one further back where clip skip counts; where that is asked for,
    just the one that it says."""
    use = reader.use
    if use.skips == "asked" and style.clip_skip_xl:
        back = style.clip_skip
    else:
        back = max(-use.layer, style.clip_skip if use.skips == "always" else 1)
    if back <= 1 and use.normalized:
        return states.last
    layers = states.layers[1:]
    state = layers[-min(back, len(layers))]
    return reader.encoder.normalized(state) if use.normalized else state


def _weighed(state: Tensor, chunks: Sequence[Chunk], emphasis: Emphasis) -> Tensor:
    """Each token's state times its weight; `original` then brings the mean back to what it was."""
    if emphasis in {"ignore", "none"} or all(weight == 1 for chunk in chunks for weight in chunk.weights):
        return state
    weights = torch.tensor([chunk.weights for chunk in chunks], device=state.device, dtype=torch.float32)
    before = state.float()
    after = before * weights.unsqueeze(-1)
    ratio = before.mean() / after.mean()
    if emphasis == "original" and bool(torch.isfinite(ratio)):
        after = after * ratio
    return after.to(state.dtype)


def _lengthened(state: Tensor, tokens: int) -> Tensor:
    """A shorter encoder's states with its own last chunk again; encoders of one family cut texts alike."""
    missing = tokens - state.shape[1]
    return state if missing <= 0 else torch.cat([state, state[:, -missing:]], dim=1)
