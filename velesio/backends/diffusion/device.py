"""The device: what a checkpoint is computed on.

The one place that knows CUDA, MPS and CPUs, number formats, attention, and what running out of memory looks like.
"""

import gc
import importlib.util
from typing import Any, TypeVar

import torch
from torch import nn

from velesio.backends.diffusion.options import Options
from velesio.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TILED_FROM = 1024 * 1024
_CPU_ROWS, _GPU_ROWS = 32, 64
_SHORT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")


class Device:
    """Where a checkpoint is, and in which numbers it computes."""

    def __init__(self, options: Options) -> None:
        """
        Raises:
            ConfigError: if the device that the options name is not there.
        """
        self._options = options
        self.place = torch.device(_place(options.device))
        self.dtype = _DTYPES.get(options.dtype, torch.float32 if self.place.type == "cpu" else torch.float16)
        self.vae_dtype = _DTYPES.get(options.vae_dtype, self.dtype)
        if options.threads:
            torch.set_num_threads(options.threads)

    @property
    def is_gpu(self) -> bool:
        """Whether pictures are not drawn by the processor itself."""
        return self.place.type != "cpu"

    @property
    def rows(self) -> int:
        """Rows of one call at most."""
        return self._options.rows or (_GPU_ROWS if self.is_gpu else _CPU_ROWS)

    def settle(self, network: Network, dtype: torch.dtype) -> Network:
        """A network ready for inference, on the device unless it comes there only when it is used."""
        network.eval().requires_grad_(False)
        if self._options.channels_last != "off":
            nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._choose_attention(network)
        offload: Any = getattr(network, "enable_group_offload", None)
        if self._options.offload == "layers" and self.is_gpu and offload is not None:
            nn.Module.to(network, dtype=dtype)
            offload(self.place, torch.device("cpu"), offload_type="leaf_level")
            return network
        nn.Module.to(network, dtype=dtype)  # diffusers' own `to` warns of what does not happen here
        if not self._parts_away:
            nn.Module.to(network, self.place)
        return network

    def enter(self, network: nn.Module) -> None:
        """Brings a network to the device, if it is kept elsewhere between calls."""
        if self._parts_away:
            nn.Module.to(network, self.place)

    def leave(self, network: nn.Module) -> None:
        """Lets it go again."""
        if self._parts_away:
            nn.Module.to(network, "cpu")

    def tiles(self, pixels: int) -> bool:
        """Whether a picture of so many pixels is decoded in tiles."""
        tiling = self._options.vae_tiling
        return tiling == "on" or (tiling == "auto" and pixels > _TILED_FROM)

    def free(self) -> None:
        """Gives back what no tensor needs."""
        gc.collect()
        if self.place.type == "cuda":
            torch.cuda.empty_cache()
        elif self.place.type == "mps":
            torch.mps.empty_cache()

    @property
    def _parts_away(self) -> bool:
        return self._options.offload == "parts" and self.is_gpu

    def _choose_attention(self, network: Any) -> None:
        wanted = self._options.attention
        has_xformers = importlib.util.find_spec("xformers") is not None
        if wanted == "sliced" and hasattr(network, "set_attention_slice"):
            network.set_attention_slice("auto")
        elif wanted == "xformers" and not has_xformers:
            raise ConfigError("attention = 'xformers', but xformers is not installed")
        elif (wanted == "xformers" or (wanted == "auto" and has_xformers and self.place.type == "cuda")) and hasattr(
            network, "enable_xformers_memory_efficient_attention"
        ):
            network.enable_xformers_memory_efficient_attention()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory was short, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SHORT_OF_MEMORY)


def _place(wanted: str) -> str:
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    there = {
        "cpu": True,
        "cuda": torch.cuda.device_count() > int(number or 0),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[kind]:
        raise ConfigError(f"device = {wanted!r}: this machine, or this build of torch, has none")
    return wanted
