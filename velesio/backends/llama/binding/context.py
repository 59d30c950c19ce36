"""A context of llama.cpp: a KV cache with its computation."""

import ctypes
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from velesio.backends.llama.binding.chain import Chain
from velesio.backends.llama.binding.computation import NO_ROOM, OK, Computation
from velesio.backends.llama.binding.log import forget, last_words
from velesio.backends.llama.binding.model import Model
from velesio.backends.llama.binding.parameters import FLASH, context_parameters, on_gpu
from velesio.backends.llama.options import Options
from velesio.errors import ModelLoadFailed

_address_of_logits = c._lib["llama_get_logits_ith"]  # a handle of its own: a plain address is quicker than a pointer
_address_of_logits.argtypes = [ctypes.c_void_p, ctypes.c_int32]
_address_of_logits.restype = ctypes.c_void_p


class Context(Computation):
    """A KV cache with its computation: one batch at a time."""

    def __init__(self, model: Model, options: Options, context: int) -> None:
        """Allocates cells for contexts of `context` tokens.

        Raises:
            ModelLoadFailed: if there is not enough memory.
        """
        forget()
        parameters = context_parameters(options, context, model.weights)
        created = c.llama_init_from_model(model.handle, parameters)
        if not created:
            raise ModelLoadFailed(f"llama.cpp cannot allocate the context: {last_words()}")
        self.n_batch = int(c.llama_n_batch(created))
        super().__init__(created, self.n_batch)
        self.can_generate = bool(self._memory) and not model.has_two_parts
        """False: the model reads whole texts and keeps nothing, so that it cannot continue one; or it would need its
        encoder run first."""
        self._fused = parameters.flash_attn_type == FLASH["on"] and not on_gpu(options)
        self._row: Any = ctypes.c_float * model.n_vocab
        self.n_ubatch = int(c.llama_n_ubatch(self._context))
        self.n_cells = int(c.llama_n_ctx(self._context))
        self.n_context = min(context, int(c.llama_n_ctx_seq(self._context)))
        self.unified = options.kv_unified
        self.can_shift = bool(c.llama_memory_can_shift(self._memory))
        """Whether `shift` works with this model."""

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
        return self._decode(OK, NO_ROOM)

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
        return np.frombuffer(self._row.from_address(_address_of_logits(self._context, place)), np.float32)

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
