"""llama.cpp's C API, as far as Velesio needs it: imported from `llama_cpp` here, in `chain`, `parameters`, `devices`
and `multimodal` only.

ctypes releases the GIL for each call, so other threads run while the engine's computes.
"""

import ctypes
import logging
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from velesio.backends.llama.automaton import Vocabulary
from velesio.backends.llama.chain import Candidates, Chain
from velesio.backends.llama.grammar import Compiler
from velesio.backends.llama.options import UNQUANTIZED, Options
from velesio.backends.llama.parameters import FLASH, NUMA, context_parameters, model_parameters, on_gpu
from velesio.errors import ModelLoadFailed, OutOfMemory

_log = logging.getLogger("velesio.backends.llama")
_complaints: deque[str] = deque(maxlen=4)
_LOG_ERROR = 4

Matrix = npt.NDArray[np.float32]

POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
"""llama.cpp's numbers for the ways to make one vector of many."""
_TOGETHER = 32
"""Texts that are embedded at a time at most."""
_STATES = 4
"""The same for recurrent models, whose states are large."""

OK, NO_ROOM = 0, 1
"""What `Context.decode` returns: done, or no free cells for the batch (nothing was computed)."""


@c.llama_log_callback  # type: ignore[untyped-decorator]
def receive_log(level: int, text: bytes, _data: Any) -> None:
    """Where llama.cpp says what it does: errors are kept for `last_words`."""
    if level == _LOG_ERROR:
        line = text.decode("utf-8", "replace").strip()
        _complaints.append(line)
        _log.warning("%s", line)
    elif _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s", text.decode("utf-8", "replace").rstrip())


c.llama_log_set(receive_log, None)
c.llama_backend_init()


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
        _complaints.clear()
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
    def candidates(self) -> "Candidates":
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


class Context:
    """A KV cache with its computation: one batch at a time."""

    def __init__(self, model: Model, options: Options, context: int) -> None:
        """Allocates cells for contexts of `context` tokens.

        Raises:
            ModelLoadFailed: if there is not enough memory.
        """
        _complaints.clear()
        parameters = context_parameters(options, context, model.weights)
        self._context = c.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise ModelLoadFailed(f"llama.cpp cannot allocate the context: {last_words()}")
        self._memory = c.llama_get_memory(self._context)
        self.can_generate = bool(self._memory) and not model.has_two_parts
        """False: the model reads whole texts and keeps nothing, so that it cannot continue one; or it would need its
        encoder run first."""
        self._fused = parameters.flash_attn_type == FLASH["on"] and not on_gpu(options)
        self._row: Any = ctypes.c_float * model.n_vocab
        self.n_batch = int(c.llama_n_batch(self._context))
        self.n_ubatch = int(c.llama_n_ubatch(self._context))
        self.n_cells = int(c.llama_n_ctx(self._context))
        self.n_context = min(context, int(c.llama_n_ctx_seq(self._context)))
        self.unified = options.kv_unified
        self.can_shift = bool(c.llama_memory_can_shift(self._memory))
        """Whether `shift` works with this model."""
        self._batch = _Batch(self.n_batch)

    def is_exact(self, count: int) -> bool:
        """Whether `count` tokens of a sequence at once give the same bits as one after the other. Of attention only the
        fused kernel of CPUs is known to; of the weights, whose format may have kernels of several rows, it is found out
        by doing both. The context must be empty, and have room for so many outputs."""
        if not self._fused:
            return False
        tokens = array("i", range(count))
        apart = [self._trial(tokens[place : place + 1], place) for place in tokens]
        self.remove(0)
        together = self._trial(tokens, 0)
        self.remove(0)
        return b"".join(apart) == together

    def _trial(self, tokens: "array[int]", position: int) -> bytes:
        place = self.add(0, tokens, position, outputs=len(tokens))
        if self.decode() != OK:
            return b""
        return b"".join(self.logits(place + index).tobytes() for index in range(len(tokens)))

    @property
    def handle(self) -> Any:
        """The C pointer, for `Projector`."""
        return self._context

    def add(self, sequence: int, tokens: "array[int]", position: int, *, outputs: int) -> int:
        """Puts tokens of a sequence, the first at `position`, into the next batch; the logits after the last
        `outputs` of them are computed. Returns where the first of these lies, for `sample`."""
        return self._batch.add(sequence, tokens, position, outputs=outputs)

    def decode(self) -> int:
        """Computes the batch: `OK`, or `NO_ROOM` with nothing changed. The batch is empty afterwards.

        Raises:
            RuntimeError: if the computation failed; the context cannot be used any more.
        """
        status = int(c.llama_decode(self._context, self._batch.struct))
        c.llama_synchronize(self._context)  # a GPU goes on after llama_decode returned; the caller takes the time
        self._batch.clear()
        if status not in {OK, NO_ROOM}:
            raise RuntimeError(f"llama_decode returned {status}: {last_words()}")
        return status

    def sample(self, chain: Chain, place: int) -> int:
        """Chooses the token after the batch's token at `place`."""
        return int(c.llama_sampler_sample(chain.handle, self._context, place))

    def likeliest(self, place: int) -> tuple[int, float]:
        """The likeliest token at `place` and its probability."""
        logits = self.logits(place)
        token = int(logits.argmax())
        return token, 1.0 / float(np.exp(logits - logits[token]).sum())

    def logits(self, place: int) -> npt.NDArray[np.float32]:
        """The logits after the batch's token at `place`, one for each token of the vocabulary; valid until the next
        `decode`."""
        pointer = c.llama_get_logits_ith(self._context, place)
        return np.frombuffer(self._row.from_address(ctypes.addressof(pointer.contents)), np.float32)

    def remove(self, sequence: int, begin: int = 0) -> bool:
        """Frees a sequence's cells from position `begin` on; False: this model's state cannot be cut there."""
        return bool(c.llama_memory_seq_rm(self._memory, sequence, begin, -1))

    def share(self, source: int, sequence: int, length: int) -> None:
        """Gives an empty `sequence` what `source` holds at positions 0 to `length`: the same cells where they are
        unified, else copies, made at the next decode."""
        c.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)  # separate streams are copied whole or not
        c.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def shift(self, sequence: int, begin: int, count: int) -> None:
        """Frees `count` cells of a sequence from position `begin` on, and moves what follows up to there."""
        c.llama_memory_seq_rm(self._memory, sequence, begin, begin + count)
        c.llama_memory_seq_add(self._memory, sequence, begin + count, -1, -count)

    def state_size(self, sequence: int) -> int:
        """Bytes of `state`."""
        return int(c.llama_state_seq_get_size(self._context, sequence))

    def state(self, sequence: int) -> bytes:
        """All that a sequence holds, to be given back by `restore`."""
        size = self.state_size(sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = c.llama_state_seq_get_data(self._context, buffer, size, sequence)
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Gives an empty sequence what `state` was made of; False: there is no room."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return bool(c.llama_state_seq_set_data(self._context, buffer, len(state), sequence))

    def spans(self, sequence: int, count: int) -> bool:
        """Whether a sequence's cells reach from position 0 to `count` - 1."""
        first = int(c.llama_memory_seq_pos_min(self._memory, sequence))
        return first == 0 and int(c.llama_memory_seq_pos_max(self._memory, sequence)) == count - 1

    def move(self, source: int, sequence: int) -> None:
        """Gives all that `source` holds to `sequence`, whose own is forgotten."""
        c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        c.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)
        c.llama_memory_seq_rm(self._memory, source, -1, -1)

    def adapt(self, adapters: "Sequence[tuple[Adapter, float]]") -> None:
        """Computes with these adapters from now on, and without any others."""
        _adapt(self._context, adapters)

    def close(self) -> None:
        """Frees the cache."""
        if self._context:
            c.llama_free(self._context)
            self._context = None


class Adapter:
    """A LoRA adapter for one model."""

    def __init__(self, model: Model, path: Path) -> None:
        """Loads the file at `path`.

        Raises:
            ModelLoadFailed: with llama.cpp's own last words.
        """
        _complaints.clear()
        self.handle = c.llama_adapter_lora_init(model.handle, os.fsencode(path))
        if not self.handle:
            raise ModelLoadFailed(f"llama.cpp cannot load the adapter {path}: {last_words()}")

    def close(self) -> None:
        """Frees the adapter; no context may use it any more."""
        if self.handle:
            c.llama_adapter_lora_free(self.handle)
            self.handle = None


class EmbeddingContext:
    """A computation that ends in vectors instead of next tokens."""

    def __init__(self, model: Model, options: Options, *, cells: int, batch: int, pooling: str) -> None:
        """Allocates for batches of `batch` tokens and, where the model keeps what it read, `cells` tokens of that.
        `pooling`: a key of `POOLINGS`; llama.cpp pools within one batch only.

        Raises:
            OutOfMemory: if there is not enough memory.
        """
        _complaints.clear()
        parameters = context_parameters(options, cells)
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = batch
        parameters.n_seq_max = min(_TOGETHER if model.can_cut else _STATES, batch)
        parameters.kv_unified = True  # texts of all lengths share the cells
        parameters.embeddings = True
        parameters.pooling_type = POOLINGS[pooling]
        if options.flash_attention == "auto" and not on_gpu(options) and options.kv_type_v in UNQUANTIZED:
            # On CPUs it sums in 16 bits: no harm to next tokens, but some hundredths of a vector's values.
            parameters.flash_attn_type = FLASH["off"]
        self._context = c.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise OutOfMemory(f"llama.cpp cannot allocate {batch} tokens of embeddings: {last_words()}")
        self.batch = min(batch, int(c.llama_n_ubatch(self._context)))
        """Tokens of a batch at most."""
        self.texts = int(c.llama_n_seq_max(self._context))
        """Texts at a time."""
        self._pooled = pooling != "none"
        self._width = 1 if pooling == "rank" else model.width
        self._memory = c.llama_get_memory(self._context)
        self._batch = _Batch(self.batch)
        self._added: list[tuple[int, int]] = []

    def add(self, text: int, tokens: "array[int]", position: int) -> None:
        """Puts tokens of a text, the first at `position`, into the next batch."""
        self._batch.add(text, tokens, position, outputs=len(tokens))
        self._added.append((text, len(tokens)))

    def compute(self) -> list[Matrix]:
        """For each piece of text in the batch a matrix of 32-bit floats: with pooling one row (of a model that rates:
        the rating), else one for each token. The batch is empty afterwards.

        Raises:
            RuntimeError: if the computation failed; the context cannot be used any more.
        """
        status = int(c.llama_decode(self._context, self._batch.struct))
        c.llama_synchronize(self._context)
        added, self._added = self._added, []
        self._batch.clear()
        if status != OK:
            raise RuntimeError(f"llama_decode returned {status}: {last_words()}")
        if self._pooled:
            return [self._row(c.llama_get_embeddings_seq(self._context, text)) for text, _ in added]
        places = iter(range(self.batch))
        return [
            np.concatenate([self._row(c.llama_get_embeddings_ith(self._context, next(places))) for _ in range(count)])
            for _, count in added
        ]

    def remove(self, text: int) -> None:
        """Forgets what was read of a text."""
        if self._memory:
            c.llama_memory_seq_rm(self._memory, text, -1, -1)

    def adapt(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Computes with these adapters from now on, and without any others."""
        _adapt(self._context, adapters)

    def close(self) -> None:
        """Frees the context."""
        if self._context:
            c.llama_free(self._context)
            self._context = None

    def _row(self, pointer: Any) -> Matrix:
        if not pointer:
            raise RuntimeError("llama.cpp gave no embedding")
        return np.ctypeslib.as_array(pointer, (1, self._width)).copy()


def _adapt(context: Any, adapters: Sequence[tuple[Adapter, float]]) -> None:
    count = len(adapters)
    handles = (c.llama_adapter_lora_p_ctypes * count)(*(adapter.handle for adapter, _ in adapters))
    scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
    if c.llama_set_adapters_lora(context, handles, count, scales):
        raise RuntimeError(f"llama.cpp refused the adapters: {last_words()}")


class _Batch:
    """The arrays behind a `llama_batch`, allocated once."""

    def __init__(self, size: int) -> None:
        self._token: Any = (ctypes.c_int32 * size)()
        self._position: Any = (ctypes.c_int32 * size)()
        self._sequence = (ctypes.c_int32 * size)()
        self._counts = (ctypes.c_int32 * size)(*([1] * size))
        self._output = (ctypes.c_int8 * size)()
        pointer = ctypes.POINTER(ctypes.c_int32)
        width, begin = ctypes.sizeof(ctypes.c_int32), ctypes.addressof(self._sequence)
        self._pointers = (pointer * size)(*(ctypes.cast(begin + width * index, pointer) for index in range(size)))
        self.struct = c.llama_batch(
            0,
            ctypes.cast(self._token, pointer),
            None,
            ctypes.cast(self._position, pointer),
            ctypes.cast(self._counts, pointer),
            self._pointers,
            ctypes.cast(self._output, ctypes.POINTER(ctypes.c_int8)),
        )

    def add(self, sequence: int, tokens: "array[int]", position: int, *, outputs: int) -> int:
        begin, count = self.struct.n_tokens, len(tokens)
        end = begin + count
        if count == 1:
            self._token[begin] = tokens[0]
            self._position[begin] = position
            self._sequence[begin] = sequence
            self._output[begin] = outputs
        else:
            self._token[begin:end] = tokens
            self._position[begin:end] = range(position, position + count)
            self._sequence[begin:end] = [sequence] * count
            ctypes.memset(ctypes.addressof(self._output) + begin, 0, count - outputs)
            ctypes.memset(ctypes.addressof(self._output) + end - outputs, 1, outputs)
        self.struct.n_tokens = end
        return end - outputs

    def clear(self) -> None:
        self.struct.n_tokens = 0


def _progress(report: Callable[[float], None]) -> Any:
    @c.llama_progress_callback  # type: ignore[untyped-decorator]
    def receive(done: float, _data: Any) -> bool:
        report(done)
        return True

    return receive


def last_words() -> str:
    """The last errors that llama.cpp told."""
    return "; ".join(_complaints) or "it gave no reason"
