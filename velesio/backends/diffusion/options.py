"""Load options of a checkpoint: the keys of `[backends.diffusion]` and, over them, of its `[[models]]` table."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_Count = Annotated[int, Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a checkpoint is loaded and worked with; 0 means "choose" wherever a number may be 0."""

    slots: Annotated[int, Meta(ge=1, le=128)] = 8
    """Jobs that are drawn together."""
    batching: bool = True
    """Whether jobs share the UNet's calls, where that pays."""
    rows: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Rows of one call of the UNet at most (a picture with a negative prompt has two); 0: 32 on a CPU, 64 on a GPU."""
    turn: Annotated[float, Meta(ge=0)] = 0.5
    """Seconds of work after which pictures of another size or with other adapters have their turn."""
    max_pixels: Annotated[int, Meta(ge=4096)] = 2048 * 2048
    """Pixels of one picture at most."""
    max_enlarged: Annotated[int, Meta(ge=4096)] = 4096 * 4096
    """Pixels of a picture at most that is enlarged by itself, or of a sheet of several."""
    max_batch: Annotated[int, Meta(ge=1, le=1024)] = 64
    """Pictures of one job at most."""
    max_steps: Annotated[int, Meta(ge=1, le=10000)] = 150
    """Steps of one pass at most."""
    enlarge: Literal["auto", "always", "never"] = "auto"
    """Whether pictures larger than the model's own size are drawn at that size and enlarged; auto: by models that are
    made for less than 256 pixels, and show nothing sensible beyond."""
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto, cpu, mps, cuda or cuda:N; auto: the best that there is."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the UNet and the text encoders; auto: float16 on GPUs, float32 on CPUs."""
    vae_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the VAE; auto: as `dtype`, but float32 where float16 overflows."""
    threads: _Count = 0
    """Threads of the CPU; 0: as torch chooses. Holds for the whole process."""
    attention: Literal["auto", "sdpa", "xformers", "sliced"] = "auto"
    """auto: xFormers where it is installed and the device is a GPU, else torch's own. sliced: slower, less memory."""
    channels_last: Literal["auto", "on", "off"] = "auto"
    """Whether the channels of a pixel lie side by side in memory, as kernels for convolutions like it; auto: on."""
    offload: Literal["none", "parts", "layers"] = "none"
    """What leaves the GPU while it is not used: whole networks, or layer by layer."""
    vae_tiling: Literal["auto", "on", "off"] = "auto"
    """Whether large pictures are decoded in tiles; auto: above 1024 by 1024 pixels."""
    prediction: Literal["auto", "epsilon", "v_prediction", "sample"] = "auto"
    """What the UNet predicts; auto: what the file says, else what its family does."""
    zero_terminal_snr: bool = False
    """Whether the noise schedule ends in pure noise, as for models trained so."""
    noise_source: Literal["cpu", "nv"] = "cpu"
    """Which generator seeds mean: torch's on a CPU, or that of NVIDIA GPUs, which A1111 uses by default. Both give
    the same picture on every device."""
    vae: str = ""
    """A file of `vae/` that replaces the checkpoint's own."""
    allow_pickle: bool = False
    """Whether `.ckpt` and `.pt` files are loaded. They are unpickled as weights only, which runs no code."""
    cache_bytes: _Count = 0
    """Bytes for VAEs, ControlNets, adapters and further checkpoints that are kept loaded; 0: half of this
    checkpoint's own, at least one of each."""
    preview_size: Annotated[int, Meta(ge=8, le=1024)] = 256
    """Pixels of a preview's longer side at most."""
    native: _Count = 0
    """Pixels of a side that the model was made for; 0: what the file or its family says."""
