"""A context of llama.cpp whose computation ends in vectors instead of next tokens."""

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from velesio.backends.llama.binding.computation import OK, Computation
from velesio.backends.llama.binding.log import forget, last_words
from velesio.backends.llama.binding.model import Model
from velesio.backends.llama.binding.parameters import FLASH, POOLINGS, context_parameters, on_gpu
from velesio.backends.llama.options import UNQUANTIZED, Options
from velesio.errors import OutOfMemory

Matrix = npt.NDArray[np.float32]

_TOGETHER = 32
"""Texts that are embedded at a time at most."""
_STATES = 4
"""The same for recurrent models, whose states are large."""


class EmbeddingContext(Computation):
    """A computation that ends in vectors instead of next tokens."""

    def __init__(self, model: Model, options: Options, *, cells: int, batch: int, pooling: str) -> None:
        """Allocates for batches of `batch` tokens and, where the model keeps what it read, `cells` tokens of that.
        `pooling`: a key of `POOLINGS`; llama.cpp pools within one batch only.

        Raises:
            OutOfMemory: if there is not enough memory.
        """
        forget()
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
        created = c.llama_init_from_model(model.handle, parameters)
        if not created:
            raise OutOfMemory(f"llama.cpp cannot allocate {batch} tokens of embeddings: {last_words()}")
        self.batch = min(batch, int(c.llama_n_ubatch(created)))
        """Tokens of a batch at most."""
        super().__init__(created, self.batch)
        self.texts = int(c.llama_n_seq_max(self._context))
        """Texts at a time."""
        self._pooled = pooling != "none"
        self._width = 1 if pooling == "rank" else model.width
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
        added, self._added = self._added, []
        self._decode(OK)
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

    def _row(self, pointer: Any) -> Matrix:
        if not pointer:
            raise RuntimeError("llama.cpp gave no embedding")
        return np.ctypeslib.as_array(pointer, (1, self._width)).copy()
