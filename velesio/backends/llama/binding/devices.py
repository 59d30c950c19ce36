"""Devices: what this build of llama.cpp can compute with."""

import ctypes
from typing import Any, NamedTuple

from llama_cpp import llama_cpp as c

_KINDS = ("cpu", "gpu", "integrated gpu", "accelerator")


class Device(NamedTuple):
    """A processor with memory."""

    name: str
    """As llama.cpp's own messages call it: `CUDA0`."""
    description: str
    kind: str
    total: int
    """Bytes of memory; 0: it does not tell."""
    free: int


def devices() -> list[Device]:
    """Those that llama.cpp sees, in the order in which `main_gpu` and `tensor_split` count its GPUs."""
    library = _library()
    return [_device(library, library.ggml_backend_dev_get(index)) for index in range(library.ggml_backend_dev_count())]


def supports_gpus() -> bool:
    """Whether the build has code for GPUs, and at least one is there."""
    return bool(c.llama_supports_gpu_offload())


def features() -> str:
    """The processor's abilities that the build uses, as llama.cpp names them."""
    said: str = c.llama_print_system_info().decode("utf-8", "replace")
    parts = [part.rpartition(":")[2].strip() for part in said.split("|")]
    return " ".join(part.partition(" = ")[0] for part in parts if part.endswith(" = 1"))


def _device(library: Any, device: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    kind = library.ggml_backend_dev_type(device)
    return Device(
        library.ggml_backend_dev_name(device).decode("utf-8", "replace"),
        library.ggml_backend_dev_description(device).decode("utf-8", "replace").strip(),
        _KINDS[kind] if 0 <= kind < len(_KINDS) else "device",
        total.value,
        free.value,
    )


def _library() -> Any:
    """The functions of ggml, which the bindings leave out; llama.cpp's library brings them with it."""
    library = ctypes.CDLL(c._lib._name)  # a handle of its own, so that no other's argument types change
    pointer = ctypes.c_void_p
    for name, arguments, result in (
        ("count", (), ctypes.c_size_t),
        ("get", (ctypes.c_size_t,), pointer),
        ("name", (pointer,), ctypes.c_char_p),
        ("description", (pointer,), ctypes.c_char_p),
        ("type", (pointer,), ctypes.c_int),
        ("memory", (pointer, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)), None),
    ):
        function = getattr(library, f"ggml_backend_dev_{name}")
        function.argtypes, function.restype = arguments, result
    return library
