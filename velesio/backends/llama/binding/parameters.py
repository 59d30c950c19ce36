"""Load options as llama.cpp is told them: the structs of parameters for weights and contexts."""

import ctypes
from typing import Any

from llama_cpp import llama_cpp as c

from velesio.backends.llama import gguf
from velesio.backends.llama.options import Options, default_threads, may_repack

_SPLIT = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
FLASH = {"auto": -1, "off": 0, "on": 1}
NUMA = {"off": 0, "distribute": 1, "isolate": 2, "numactl": 3, "mirror": 4}
POOLINGS = {name: number for number, name in gguf.POOLINGS.items()}
_ROPE = {"model": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
_SPEED = 40e9
"""Operations a second that a core is taken to do, where it must be known beforehand."""


def model_parameters(options: Options) -> Any:
    """How weights are loaded, as llama.cpp is told."""
    parameters = c.llama_model_default_params()
    parameters.n_gpu_layers = options.gpu_layers
    parameters.main_gpu = options.main_gpu
    parameters.split_mode = _SPLIT[options.split_mode]
    parameters.check_tensors = options.check_tensors
    parameters.use_extra_bufts = may_repack() if options.repack == "auto" else options.repack == "on"
    if options.mmap != "auto" or options.mlock:
        parameters.load_mode = (options.mmap != "off") + 2 * options.mlock
    if options.tensor_split:
        shares = (*options.tensor_split, *[0.0] * 128)[: max(1, c.llama_max_devices())]
        parameters.tensor_split = (ctypes.c_float * len(shares))(*shares)
    return parameters


def context_parameters(options: Options, context: int, weights: int = 0) -> Any:
    """How contexts of `context` tokens of a model with so many weights are computed, as llama.cpp is told: every
    default that is chosen here."""
    parameters = c.llama_context_default_params()
    parameters.n_ctx = options.cells_of(context)
    parameters.n_batch = min(options.batch, parameters.n_ctx)
    parameters.n_seq_max = options.sequences
    # Each job samples one token and checks its guesses; room for more is wasted memory.
    parameters.n_outputs_max = min(parameters.n_batch, options.slots * (1 + options.draft_tokens))
    parameters.n_threads = options.threads or default_threads()
    parameters.n_threads_batch = options.threads_batch or parameters.n_threads
    ubatch = options.ubatch or _ubatch(options, weights / parameters.n_threads_batch)
    parameters.n_ubatch = min(ubatch, parameters.n_batch)
    parameters.kv_unified = options.kv_unified
    parameters.swa_full = options.swa_full
    parameters.flash_attn_type = _flash_attention(options)
    parameters.type_k = _CACHE_TYPES[options.kv_type_k]
    parameters.type_v = _CACHE_TYPES[options.kv_type_v]
    parameters.offload_kqv = options.kv_offload
    parameters.rope_scaling_type = _ROPE[options.rope_scaling]
    parameters.rope_freq_base = options.rope_freq_base
    parameters.rope_freq_scale = options.rope_freq_scale
    parameters.yarn_ext_factor = options.yarn_ext_factor
    parameters.yarn_attn_factor = options.yarn_attn_factor
    parameters.yarn_beta_fast = options.yarn_beta_fast
    parameters.yarn_beta_slow = options.yarn_beta_slow
    parameters.yarn_orig_ctx = options.yarn_orig_ctx
    return parameters


def _ubatch(options: Options, weights: float) -> int:
    """For a model with so many weights for each thread. On CPUs more than 128 only takes more memory; and fewer than a
    tile of 64 tokens, which a prompt is not cut below, where that would hold up others for longer than `pause`."""
    if on_gpu(options) or options.mmproj:
        return 512
    return 128 if weights * 2 * 64 <= _SPEED * options.pause else 48


def on_gpu(options: Options) -> bool:
    """Whether any of the model lies on a GPU."""
    return bool(options.gpu_layers and c.llama_supports_gpu_offload())


def _flash_attention(options: Options) -> int:
    """On a CPU it is on, without which guesses ahead are not exact. Measured on two cores, ms a step without and with
    it: eight sequences of 64 tokens 42 and 36, of 500 tokens 48 and 43, of 1,500 tokens 67 and 75."""
    if options.flash_attention != "auto":
        return FLASH[options.flash_attention]
    return FLASH["auto" if on_gpu(options) else "on"]
