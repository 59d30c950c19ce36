"""Load options of a GGUF model: the keys of `[backends.llama]` and, over them, of its `[[models]]` table."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from velesio.backends.base import read_options
from velesio.errors import ConfigError

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_Count = Annotated[int, Meta(ge=0)]
UNQUANTIZED = frozenset({"f32", "f16", "bf16"})
"""Formats of cached values that need no flash attention."""

_MAX_SEQUENCES = 256
_EMBED_TOKENS = 2048
_SLOTS = 8
"""Measured on two cores with SmolLM2, tokens a second of 1, 4, 8, 16 together: 89, 152, 178, 193."""


class LoraFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA adapter that is loaded with its model."""

    path: str
    """A GGUF file in `models_dir`."""
    scale: Annotated[float, Meta(ge=-1000, le=1000)] = 1.0
    """How strongly it works on jobs that do not say otherwise; 0: it does not."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is loaded; 0 means "choose" wherever a number may be 0."""

    context: _Count = 4096
    """Tokens that one job may use, prompt and answer together; 0: as many as the model was trained for."""
    slots: Annotated[int, Meta(ge=0, le=128)] = 0
    """Jobs that are computed together; 0: eight, or as many as have room for their contexts in half of the memory."""
    kv_unified: bool = False
    """false: cells of its own for each slot; a prefix that another slot has is copied. true: one pool of `cells` for
    all, which takes less memory and shares prefixes in place, but every token attends over everybody's cells, and
    who else is there shows in the last bits of an answer."""
    cells: _Count = 0
    """Tokens in the pool of `kv_unified`; 0: half of `slots` times `context`, at least one context. When they run
    out, kept prefixes go first, then the youngest job waits for its turn."""
    batch: Annotated[int, Meta(ge=1, le=65536)] = 512
    """Tokens computed in one step at most."""
    ubatch: Annotated[int, Meta(ge=0, le=65536)] = 0
    """Tokens that the hardware sees at once; 0: 512 on a GPU; on a CPU 128, or 48 for models that take longer than
    `pause` for 64. From 64 on prompts are cut at multiples of 64 only."""
    threads: _Count = 0
    """Threads for single tokens; 0: OMP_NUM_THREADS, else the physical cores this process may use."""
    threads_batch: _Count = 0
    """Threads for prompts; 0: as `threads`."""
    pause: Annotated[float, Meta(gt=0)] = 0.25
    """Seconds that the computation of a prompt may hold up others' next token; prompts are cut to fit. Where each slot
    has cells of its own, half of it more for one that then need not be cut."""
    cached: _Count = 0
    """Ended sequences that are kept for reuse besides those in idle slots; they take memory like a slot."""
    parked: _Count = 0
    """Bytes of memory for the states of ended and interrupted jobs whose cells others need; they are copied back
    instead of being computed again."""
    context_shift: bool = False
    """Whether a job goes on without its oldest tokens when its context is full, unless it says otherwise."""
    speculation: Literal["off", "auto", "always"] = "auto"
    """Guess tokens ahead from what was said before, or with `draft`, while that is faster; auto: for answers at
    temperature 0, where the guesses cannot change them (with flash attention on a CPU) or `draft` is given; always:
    for all answers, in which near ties may then fall otherwise."""
    mmproj: str = ""
    """A GGUF file with the model's projector, which lets it see or hear; relative to `models_dir`."""
    media_pixels: Annotated[int, Meta(ge=1)] = 1 << 24
    """Pixels of a picture at most; it is unpacked only after its head was found to say no more."""
    media_seconds: Annotated[float, Meta(gt=0)] = 600.0
    """Seconds of a sound at most."""
    draft: str = ""
    """A small GGUF model with the same vocabulary that guesses tokens ahead; relative to `models_dir`."""
    draft_tokens: Annotated[int, Meta(ge=0, le=32)] = 8
    """Tokens that are guessed ahead at a time, at most."""
    isolate_cache: bool = False
    """Whether a tenant's cached prefixes are kept from other tenants (timing can tell that a prefix was cached)."""
    gpu_layers: Annotated[int, Meta(ge=-1)] = -1
    """Layers kept on the GPU; -1: all that fit a build with GPU support."""
    main_gpu: _Count = 0
    """The GPU for everything that is not split."""
    split_mode: Literal["none", "layer", "row", "tensor"] = "layer"
    """How several GPUs share a model."""
    tensor_split: tuple[Annotated[float, Meta(ge=0)], ...] = ()
    """Shares of each GPU; empty: by free memory."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Fused attention; auto: wherever llama.cpp has it, but for embeddings on CPUs, which it makes inexact. There it is
    faster up to about a thousand tokens, and slower by an eighth at 1,500."""
    kv_type_k: KvType = "f16"
    """Format of cached keys."""
    kv_type_v: KvType = "f16"
    """Format of cached values; quantized ones need flash attention."""
    kv_offload: bool = True
    """Whether the cache lies on the GPU."""
    swa_full: bool = True
    """Keep whole contexts of sliding-window models, so that their prefixes can be reused."""
    mmap: Literal["auto", "on", "off"] = "auto"
    """Map the file into memory instead of reading it."""
    mlock: bool = False
    """Keep the weights from being swapped out."""
    check_tensors: bool = False
    """Look for invalid numbers in the weights while loading."""
    repack: Literal["auto", "on", "off"] = "auto"
    """Rearrange weights for the CPU's matrix units; auto: not where the CPU has AMX, on which many builds crash."""
    numa: Literal["off", "distribute", "isolate", "numactl", "mirror"] = "off"
    """Placement on machines with several memory nodes; holds for the whole process."""
    rope_scaling: Literal["model", "none", "linear", "yarn", "longrope"] = "model"
    """How positions beyond the trained context are scaled."""
    rope_freq_base: Annotated[float, Meta(ge=0)] = 0.0
    """Base frequency of the positions; 0: the model's."""
    rope_freq_scale: Annotated[float, Meta(ge=0)] = 0.0
    """Factor on the positions' frequency; 0: the model's."""
    yarn_ext_factor: float = -1.0
    """YaRN's extrapolation mix; negative: the model's."""
    yarn_attn_factor: float = -1.0
    """YaRN's attention magnitude; negative: the model's."""
    yarn_beta_fast: float = -1.0
    """YaRN's fast correction dimension; negative: the model's."""
    yarn_beta_slow: float = -1.0
    """YaRN's slow correction dimension; negative: the model's."""
    yarn_orig_ctx: _Count = 0
    """YaRN's original context; 0: the model's."""
    chat_template: str = ""
    """A Jinja file that replaces the model's own chat template; relative to `models_dir`."""
    lora: Annotated[tuple[LoraFile, ...], Meta(max_length=64)] = ()
    """LoRA adapters that jobs may use: `[{ path = "adapter.gguf", scale = 1.0 }]`, relative to `models_dir`; their ids
    are their places in this list, from 0 on."""
    pooling: Literal["model", "none", "mean", "cls", "last", "rank"] = "model"
    """How the vectors of a text's tokens become its embedding; model: as the file says, else `none`, which gives one
    for each token; rank: they become a rating for reranking."""
    embed_tokens: _Count = 0
    """Tokens of the longest text to embed or rate; 0: 2048, or `context` if that is less. Memory grows with it, and
    with its square without flash attention, from the first text on that is so long."""
    spm_infill: bool = False
    """Whether gaps are filled with the text after them given first, as some models were trained."""
    slot_save_path: str = ""
    """The folder of files that clients save slots to; relative to `models_dir`; empty: they cannot."""
    slot_save_bytes: Annotated[int, Meta(ge=0)] = 4 << 30
    """Bytes that saved slots may take altogether."""

    def fitted(self, context: int, cell: int, weights: int) -> "Options":
        """These options with a number of slots, for contexts of `context` tokens of `cell` bytes beside `weights`
        bytes of weights."""
        if self.slots:
            return self
        room = total_memory() // 2 - weights
        fitting = _SLOTS if self.kv_unified else room // max(1, context * cell)
        return msgspec.structs.replace(self, slots=max(1, min(_SLOTS, fitting)))

    def context_of(self, trained: int) -> int:
        """Tokens that one job may use with a model trained for `trained` tokens."""
        wanted = self.context or trained or 4096
        scaled = self.rope_scaling != "model" or self.rope_freq_base or self.rope_freq_scale
        return wanted if scaled or not trained else min(wanted, trained)

    def cells_of(self, context: int) -> int:
        """Tokens that all sequences of a model with contexts of `context` tokens have together."""
        if not self.kv_unified:
            return context * self.sequences
        return max(context, self.cells or context * ((self.slots + 1) // 2))

    def embed_limit(self, context: int) -> int:
        """Tokens of the longest text to embed with a context of `context` tokens."""
        return min(context, self.embed_tokens or _EMBED_TOKENS)

    @property
    def sequences(self) -> int:
        """Sequences that the cache tells apart: running and kept ones. In one pool kept ones cost nothing of their
        own."""
        return min(_MAX_SEQUENCES, self.slots * (4 if self.kv_unified else 1) + self.cached)


def read(place: str, *layers: Mapping[str, Any]) -> Options:
    """The options of one model from the backend's section and the model's table.

    Raises:
        ConfigError: naming `place` and the key.
    """
    options = read_options(Options, place, *layers)
    if options.kv_type_v not in UNQUANTIZED and options.flash_attention == "off":
        raise ConfigError(f"{place}: kv_type_v = {options.kv_type_v!r} needs flash attention")
    for number, file in enumerate(options.lora):
        path = PurePath(file.path)
        if not file.path or path.is_absolute() or ".." in path.parts:
            raise ConfigError(f"{place}: lora[{number}].path = {file.path!r} must be a file within models_dir")
    return options


def may_repack(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether weights can be rearranged safely: llama.cpp then takes AMX wherever the CPU reports it, and its AMX
    code faults in many builds and virtual machines, which would end the whole process."""
    try:
        return " amx_tile" not in cpuinfo.read_text()
    except OSError:
        return True


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that can be allocated without swapping; a very large number where the system does not say."""
    return _memory("MemAvailable", meminfo)


def total_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory; a very large number where the system does not say."""
    return _memory("MemTotal", meminfo)


def _memory(name: str, meminfo: Path) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 1 << 62


def default_threads(system: Path = Path("/sys")) -> int:
    """Threads that can compute at once: OMP_NUM_THREADS, else physical cores within affinity and CPU quota."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked):
        return int(asked)
    return max(1, min(_physical_cores(system / "devices/system/cpu"), _quota(system / "fs/cgroup/cpu.max")))


def _physical_cores(folder: Path) -> int:
    """Cores behind the CPUs that this process may use: threads of one core share its arithmetic units."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        try:
            cores.add((folder / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def _quota(file: Path) -> int:
    """CPUs that a container may use; more threads than that would spin against each other."""
    try:
        quota, period = file.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 16
