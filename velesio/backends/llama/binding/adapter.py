"""LoRA adapters of llama.cpp, and the computations that they work on."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as c

from velesio.backends.llama.binding.log import forget, last_words
from velesio.backends.llama.binding.model import Model
from velesio.errors import ModelLoadFailed


class Adapter:
    """A LoRA adapter for one model."""

    def __init__(self, model: Model, path: Path) -> None:
        """Loads the file at `path`.

        Raises:
            ModelLoadFailed: with llama.cpp's own last words.
        """
        forget()
        self.handle = c.llama_adapter_lora_init(model.handle, os.fsencode(path))
        if not self.handle:
            raise ModelLoadFailed(f"llama.cpp cannot load the adapter {path}: {last_words()}")

    def close(self) -> None:
        """Frees the adapter; no context may use it any more."""
        if self.handle:
            c.llama_adapter_lora_free(self.handle)
            self.handle = None


def adapt(context: Any, adapters: Sequence[tuple[Adapter, float]]) -> None:
    """Has a context (its C pointer) computed with these adapters from now on, and without any others."""
    count = len(adapters)
    handles = (c.llama_adapter_lora_p_ctypes * count)(*(adapter.handle for adapter, _ in adapters))
    scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
    if c.llama_set_adapters_lora(context, handles, count, scales):
        raise RuntimeError(f"llama.cpp refused the adapters: {last_words()}")
