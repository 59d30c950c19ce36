"""A model of llama.cpp: weights and vocabulary."""

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from llama_cpp import llama_cpp as c

from velesio.backends.llama.automaton import Vocabulary
from velesio.backends.llama.binding.chain import Candidates
from velesio.backends.llama.binding.log import forget, last_words
from velesio.backends.llama.binding.parameters import NUMA, POOLINGS, model_parameters
from velesio.backends.llama.grammar import Compiler
from velesio.backends.llama.options import Options
from velesio.errors import ModelLoadFailed


class Marks(NamedTuple):
    """Ids of a vocabulary's special tokens; -1: it has none."""

    bos: int
    eos: int
    sep: int
    fim_pre: int
    fim_suf: int
    fim_mid: int
    fim_rep: int
    fim_sep: int


class Model:
    """Weights and vocabulary."""

    def __init__(self, path: Path, options: Options, report: Callable[[float], None]) -> None:
        """Loads the file at `path`; `report` is told the part that is done.

        Raises:
            ModelLoadFailed: with llama.cpp's own last words.
        """
        if options.numa != "off":
            c.llama_numa_init(NUMA[options.numa])
        forget()
        parameters = model_parameters(options)
        watch = _progress(report)
        parameters.progress_callback = watch
        self._model = c.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ModelLoadFailed(f"llama.cpp cannot load {path}: {last_words()}")
        self.path = path
        vocab = self.vocab = c.llama_model_get_vocab(self._model)
        self.n_vocab = int(c.llama_vocab_n_tokens(vocab))
        self.adds_bos = bool(c.llama_vocab_get_add_bos(vocab))
        self.adds_eos = bool(c.llama_vocab_get_add_eos(vocab))
        self.adds_sep = bool(c.llama_vocab_get_add_sep(vocab))
        self.can_cut = not (c.llama_model_is_recurrent(self._model) or c.llama_model_is_hybrid(self._model))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self.bos_text = self._mark(c.llama_vocab_bos(vocab))
        self.eos_text = self._mark(c.llama_vocab_eos(vocab))

    @property
    def handle(self) -> Any:
        """The C pointer, for `Context`."""
        return self._model

    def tokenize(self, text: str, *, special: bool = False, parse: bool = True) -> list[int]:
        """Tokens of `text`; `special` adds the begin and end that the model wants, `parse` recognizes the names of
        control tokens."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = c.llama_tokenize(self.vocab, data, len(data), tokens, room, special, parse)
        if count < 0:
            tokens = (ctypes.c_int32 * -count)()
            count = c.llama_tokenize(self.vocab, data, len(data), tokens, -count, special, parse)
        return tokens[:count]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a generated token shows; none for control tokens, unless `special` ones are to be shown."""
        if special:
            return self._piece(token, special=True)
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, special=False)
        return known

    def is_end(self, token: int) -> bool:
        """Whether a token ends the generation."""
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = bool(c.llama_vocab_is_eog(self.vocab, token))
        return known

    def end_tokens(self) -> list[int]:
        """Every token that ends the generation."""
        return self._end_tokens

    @cached_property
    def _end_tokens(self) -> list[int]:
        return [token for token in range(self.n_vocab) if self.is_end(token)]

    @cached_property
    def grammars(self) -> Compiler:
        """Makes grammars ready for this vocabulary, whose tokens are all looked at when it is first used."""
        pieces = [self.piece(token) for token in range(self.n_vocab)]
        return Compiler(
            Vocabulary(pieces, self.end_tokens(), lambda token: self.piece(token, special=True), self.tokenize)
        )

    @cached_property
    def candidates(self) -> Candidates:
        """Room to choose a token in; whoever uses it is done with it before the next one does."""
        return Candidates(self.n_vocab)

    def suppressed_tokens(self) -> list[int]:
        """Tokens that the model's file says are never to be generated."""
        count = ctypes.c_int32()
        tokens = c.llama_vocab_get_suppress_tokens(self.vocab, ctypes.byref(count))
        return tokens[: count.value] if count.value else []

    def text(self, tokens: Iterable[int]) -> str:
        """The text of a prompt's tokens, control tokens shown."""
        return b"".join(self._piece(token, special=True) for token in tokens).decode("utf-8", "replace")

    def value(self, name: str) -> str:
        """A short text or number of the file's metadata, as text; empty if it is not there."""
        buffer = ctypes.create_string_buffer(256)
        size = c.llama_model_meta_val_str(self._model, name.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else ""

    @property
    def pooling(self) -> str:
        """How the model itself makes one vector of a text's tokens, as `POOLINGS` name it; empty: it does not say."""
        number = self.value(f"{self.value('general.architecture')}.pooling_type")
        return next((name for name, kind in POOLINGS.items() if number == str(kind)), "")

    @property
    def is_causal(self) -> bool:
        """Whether a token's vector depends only on the tokens before, as far as the file says."""
        return self.value(f"{self.value('general.architecture')}.attention.causal") != "false"

    @property
    def has_two_parts(self) -> bool:
        """Whether it is an encoder with a decoder, which llama.cpp runs apart."""
        return bool(c.llama_model_has_encoder(self._model)) and bool(c.llama_model_has_decoder(self._model))

    @property
    def rerank_template(self) -> str:
        """The text around a query and a document that the model rates; empty: there are only marks between them."""
        text = c.llama_model_chat_template(self._model, b"rerank")
        return text.decode("utf-8", "replace") if text else ""

    @property
    def width(self) -> int:
        """Values of an embedding."""
        return int(c.llama_model_n_embd_out(self._model))

    @property
    def weights(self) -> int:
        """How many numbers it has learned."""
        return int(c.llama_model_n_params(self._model))

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(c.llama_model_n_head(self._model))

    @property
    def cell_values(self) -> int:
        """Numbers that a cached token takes over all layers, keys and values together."""
        each = 2 * c.llama_model_n_embd(self._model) * c.llama_model_n_head_kv(self._model) // max(1, self.heads)
        return int(each * c.llama_model_n_layer(self._model))

    @property
    def marks(self) -> Marks:
        """The vocabulary's special tokens."""
        return Marks(*(int(getattr(c, f"llama_vocab_{name}")(self.vocab)) for name in Marks._fields))

    def close(self) -> None:
        """Frees the weights; contexts and adapters must be closed before."""
        self.__dict__.pop("grammars", None)  # it refers to the model again
        if self._model:
            c.llama_model_free(self._model)
            self._model = None

    def _mark(self, token: int) -> str:
        return self._piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = c.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = c.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size]


def _progress(report: Callable[[float], None]) -> Any:
    @c.llama_progress_callback  # type: ignore[untyped-decorator]
    def receive(done: float, _data: Any) -> bool:
        report(done)
        return True

    return receive
