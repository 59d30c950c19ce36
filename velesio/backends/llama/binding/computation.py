"""A computation: what every context of llama.cpp has, whatever its batches end in."""

from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as c

from velesio.backends.llama.binding.adapter import Adapter, adapt
from velesio.backends.llama.binding.batch import Batch
from velesio.backends.llama.binding.log import last_words

OK, NO_ROOM = 0, 1
"""What `llama_decode` returns: done, or no free cells for the batch (nothing was computed)."""


class Computation:
    """A context and the batch that it computes next."""

    def __init__(self, context: Any, size: int) -> None:
        """Takes over a context (its C pointer), whose batches have room for `size` tokens."""
        self._context = context
        self._memory = c.llama_get_memory(context)
        self._batch = Batch(size)

    def adapt(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Computes with these adapters from now on, and without any others."""
        adapt(self._context, adapters)

    def close(self) -> None:
        """Frees the context and what it keeps."""
        if self._context:
            c.llama_free(self._context)
            self._context = None

    def _decode(self, *expected: int) -> int:
        """Computes the batch, which is empty afterwards; answers the status, which must be one of these."""
        status = int(c.llama_decode(self._context, self._batch.struct))
        c.llama_synchronize(self._context)  # a GPU goes on after llama_decode returned; the caller takes the time
        self._batch.clear()
        if status not in expected:
            raise RuntimeError(f"llama_decode returned {status}: {last_words()}")
        return status
