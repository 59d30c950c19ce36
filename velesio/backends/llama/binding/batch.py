"""A batch: the arrays in which llama.cpp is given tokens to compute, allocated once."""

import ctypes
from array import array
from typing import Any

from llama_cpp import llama_cpp as c


class Batch:
    """The arrays behind a `llama_batch`, with room for `size` tokens."""

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
        """Puts tokens of a sequence, the first at `position`, behind those that are there; what comes of the last
        `outputs` of them is wanted. Returns where the first of these lies."""
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
        """Empties it."""
        self.struct.n_tokens = 0
