"""Every load option reaches llama.cpp, whether this machine has the hardware for it or not."""

from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as c

from velesio.backends.llama.binding import Model
from velesio.backends.llama.binding.parameters import context_parameters, model_parameters
from velesio.backends.llama.options import Options
from velesio.errors import ModelLoadFailed


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the build had found one."""
    monkeypatch.setattr(c, "llama_supports_gpu_offload", lambda: True)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({}, "n_gpu_layers", -1),
        ({"gpu_layers": 7}, "n_gpu_layers", 7),
        ({"gpu_layers": 0}, "n_gpu_layers", 0),
        ({"main_gpu": 2}, "main_gpu", 2),
        ({"split_mode": "none"}, "split_mode", c.LLAMA_SPLIT_MODE_NONE),
        ({"split_mode": "layer"}, "split_mode", c.LLAMA_SPLIT_MODE_LAYER),
        ({"split_mode": "row"}, "split_mode", c.LLAMA_SPLIT_MODE_ROW),
        ({"check_tensors": True}, "check_tensors", True),
        ({"repack": "off"}, "use_extra_bufts", False),
        ({"repack": "on"}, "use_extra_bufts", True),
    ],
)
def test_options_of_weights(options: dict[str, Any], field: str, value: object) -> None:
    """Each has its field."""
    assert getattr(model_parameters(Options(**options)), field) == value


@pytest.mark.parametrize(
    ("mmap", "mlock", "mapped", "locked"),
    [("on", False, True, False), ("off", False, False, False), ("on", True, True, True), ("off", True, False, True)],
)
def test_how_the_file_is_read(mmap: Any, mlock: bool, mapped: bool, locked: bool) -> None:
    """Mapped or not, locked in memory or not; with neither said, as llama.cpp likes."""
    mode = model_parameters(Options(mmap=mmap, mlock=mlock)).load_mode
    assert (bool(mode & 1), bool(mode & 2)) == (mapped, locked)
    assert model_parameters(Options()).load_mode == c.llama_model_default_params().load_mode


def test_shares_of_gpus() -> None:
    """As many as llama.cpp has room for; those that are not named get nothing."""
    shares = model_parameters(Options(tensor_split=(3.0, 1.0))).tensor_split
    assert [shares[index] for index in range(c.llama_max_devices())] == [3.0, 1.0] + [0.0] * (c.llama_max_devices() - 2)
    assert not model_parameters(Options()).tensor_split


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"slots": 3}, "n_seq_max", 3),
        ({"slots": 3}, "n_ctx", 3000),
        ({"batch": 64}, "n_batch", 64),
        ({"ubatch": 32}, "n_ubatch", 32),
        ({"threads": 3}, "n_threads", 3),
        ({"threads": 3}, "n_threads_batch", 3),
        ({"threads": 3, "threads_batch": 5}, "n_threads_batch", 5),
        ({"kv_unified": True, "slots": 4, "cells": 5000}, "n_ctx", 5000),
        ({"kv_unified": True}, "kv_unified", True),
        ({"swa_full": False}, "swa_full", False),
        ({"kv_offload": False}, "offload_kqv", False),
        ({"kv_type_k": "q8_0"}, "type_k", 8),
        ({"kv_type_v": "q4_0"}, "type_v", 2),
        ({"flash_attention": "on"}, "flash_attn_type", 1),
        ({"flash_attention": "off"}, "flash_attn_type", 0),
        ({"rope_scaling": "yarn"}, "rope_scaling_type", 2),
        ({"rope_scaling": "none"}, "rope_scaling_type", 0),
        ({}, "rope_scaling_type", -1),
        ({"rope_freq_base": 10000.0}, "rope_freq_base", 10000.0),
        ({"rope_freq_scale": 0.5}, "rope_freq_scale", 0.5),
        ({"yarn_ext_factor": 0.25}, "yarn_ext_factor", 0.25),
        ({"yarn_attn_factor": 1.5}, "yarn_attn_factor", 1.5),
        ({"yarn_beta_fast": 32.0}, "yarn_beta_fast", 32.0),
        ({"yarn_beta_slow": 2.0}, "yarn_beta_slow", 2.0),
        ({"yarn_orig_ctx": 4096}, "yarn_orig_ctx", 4096),
    ],
)
def test_options_of_contexts(options: dict[str, Any], field: str, value: object) -> None:
    """Each has its field; contexts are of 1,000 tokens here."""
    assert getattr(context_parameters(Options(**{"slots": 1} | options), 1000), field) == value


def test_every_option_of_hardware_is_looked_at_here() -> None:
    """A new option of these kinds comes with a row above."""
    rows = "\n".join(Path(__file__).read_text(encoding="utf-8").splitlines())
    kinds = (
        "gpu",
        "split",
        "kv_",
        "rope_",
        "yarn_",
        "mmap",
        "mlock",
        "numa",
        "threads",
        "batch",
        "flash",
        "swa",
        "repack",
    )
    for name in Options.__struct_fields__:
        if name.startswith(kinds) or name in {"main_gpu", "tensor_split", "ubatch", "check_tensors", "cells"}:
            assert f'"{name}"' in rows or f"{name}=" in rows, name


@pytest.mark.usefixtures("on_gpu")
def test_defaults_on_a_gpu() -> None:
    """More tokens at a time, and fused attention where llama.cpp has it; not where all layers stay on the CPU."""
    chosen = context_parameters(Options(slots=1), 4096)
    assert (chosen.n_ubatch, chosen.flash_attn_type) == (512, -1)
    assert context_parameters(Options(slots=1, gpu_layers=0), 4096).n_ubatch == 128


@pytest.mark.parametrize(
    ("weights", "threads", "pause", "pieces"),
    [(134e6, 2, 0.25, 128), (134e6, 1, 0.25, 48), (7e9, 8, 0.25, 48), (7e9, 8, 4.0, 128), (7e9, 64, 0.4, 128)],
)
def test_pieces_of_prompts_on_a_cpu(weights: float, threads: int, pause: float, pieces: int) -> None:
    """Below a tile where the threads would compute a tile for longer than the pause; what is asked for, always."""
    options = Options(slots=1, gpu_layers=0, threads=threads, pause=pause)
    assert context_parameters(options, 4096, int(weights)).n_ubatch == pieces
    asked = Options(slots=1, gpu_layers=0, threads=threads, pause=pause, ubatch=200)
    assert context_parameters(asked, 4096, int(weights)).n_ubatch == 200


def test_numa_is_set_up_before_the_weights_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the number that llama.cpp has for it; `off` does nothing."""
    called: list[int] = []
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_numa_init", called.append)
    for numa in ("off", "isolate", "numactl"):
        with pytest.raises(ModelLoadFailed):
            Model(tmp_path / "missing.gguf", Options(numa=numa), lambda _: None)  # type: ignore[arg-type]
    assert called == [2, 3]
