"""GGUF models through llama.cpp: continuous batching, prefix reuse, chat by the model's own template."""

from velesio.backends.llama.backend import LlamaBackend, backend

__all__ = ["LlamaBackend", "backend"]
