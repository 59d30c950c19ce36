"""llama.cpp's C API, as far as Velesio needs it: `llama_cpp` is imported here and nowhere else.

ctypes releases the GIL for each call, so other threads run while the engine's computes.
"""

from velesio.backends.llama.binding.adapter import Adapter
from velesio.backends.llama.binding.computation import NO_ROOM, OK
from velesio.backends.llama.binding.context import Context
from velesio.backends.llama.binding.embedding_context import EmbeddingContext, Matrix
from velesio.backends.llama.binding.model import Marks, Model

__all__ = ["NO_ROOM", "OK", "Adapter", "Context", "EmbeddingContext", "Marks", "Matrix", "Model"]
