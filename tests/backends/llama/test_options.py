"""Load options: bounds, defaults that fit the machine."""

from pathlib import Path

import pytest

from velesio.backends.llama import options
from velesio.backends.llama.options import Options, default_threads, free_memory, may_repack, read, total_memory
from velesio.errors import ConfigError


@pytest.mark.parametrize(
    ("chosen", "trained", "context"),
    [
        ({}, 8192, 4096),
        ({}, 2048, 2048),
        ({"context": 0}, 8192, 8192),
        ({"context": 0}, 0, 4096),
        ({"context": 100_000}, 8192, 8192),
        ({"context": 100_000, "rope_scaling": "yarn"}, 8192, 100_000),
        ({"context": 16384, "rope_freq_scale": 0.5}, 8192, 16384),
    ],
)
def test_the_context_is_what_the_model_can(chosen: dict[str, object], trained: int, context: int) -> None:
    """Never more than it was trained for, unless positions are scaled."""
    assert read("here", chosen).context_of(trained) == context


@pytest.mark.parametrize(
    ("chosen", "cells", "sequences"),
    [
        ({"slots": 4}, 4000, 4),
        ({"slots": 4, "cached": 2}, 6000, 6),
        ({"slots": 4, "kv_unified": True}, 2000, 16),
        ({"slots": 1, "kv_unified": True}, 1000, 4),
        ({"slots": 4, "kv_unified": True, "cells": 5000, "cached": 500}, 5000, 256),
        ({"slots": 4, "kv_unified": True, "cells": 10}, 1000, 16),
    ],
)
def test_cells_hold_at_least_one_context(chosen: dict[str, object], cells: int, sequences: int) -> None:
    """Separate cells: a context for each sequence; unified: what was asked, or half of the slots', and ids to spare
    for prefixes that are kept."""
    found = read("here", chosen)
    assert (found.cells_of(1000), found.sequences) == (cells, sequences)


def test_later_tables_win() -> None:
    """The model's table goes over the backend's section."""
    assert read("here", {"slots": 2, "batch": 64}, {"slots": 3}) == Options(slots=3, batch=64)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"slotz": 4}, r"models\[0\].*slotz.*Known options: context"),
        ({"slots": -1}, "slots"),
        ({"slots": 129}, "slots"),
        ({"slots": "many"}, "slots"),
        ({"kv_type_k": "q3"}, "kv_type_k"),
        ({"pause": 0}, "pause"),
        ({"kv_type_v": "q8_0", "flash_attention": "off"}, "flash attention"),
    ],
)
def test_bad_options_are_refused_with_their_place(bad: dict[str, object], message: str) -> None:
    """The message names the table and the key."""
    with pytest.raises(ConfigError, match=message):
        read("models[0]", bad)


@pytest.mark.parametrize(
    ("chosen", "cell", "slots"),
    [
        ({}, 1000, 8),
        ({}, 100_000, 4),
        ({}, 10_000_000, 1),
        ({"slots": 7}, 10_000_000, 7),
        ({"kv_unified": True}, 10**7, 8),
    ],
)
def test_slots_fit_into_half_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, object], cell: int, slots: int
) -> None:
    """Eight at most, one at least, fewer where contexts are large; what was asked for is kept."""
    monkeypatch.setattr(options, "total_memory", lambda: 1_000_000_000)
    assert read("here", chosen).fitted(1000, cell, 100_000_000).slots == slots


def cores(folder: Path, siblings: list[str]) -> Path:
    for cpu, text in enumerate(siblings):
        place = folder / f"devices/system/cpu/cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(text + "\n")
    return folder


def test_threads_are_physical_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of a core count once, CPUs outside the affinity not at all, and a container's quota is kept."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5}, raising=False)
    system = cores(tmp_path, ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"])
    assert default_threads(system) == 4
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    quota = tmp_path / "fs/cgroup/cpu.max"
    for text, threads in [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 4)]:
        quota.write_text(text)
        assert default_threads(system) == threads


def test_a_machine_that_tells_nothing_gives_one_thread_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without topology each CPU is a core."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert default_threads(tmp_path) == 3


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("2,1", 2), ("0", 1), ("x", 1)])
def test_omp_num_threads_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, threads: int) -> None:
    """As OpenMP programs do; nonsense is ignored."""
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert default_threads(tmp_path) == threads


def test_amx_is_not_used_unasked(tmp_path: Path) -> None:
    """llama.cpp's AMX code ends the process on many machines that report AMX."""
    info = tmp_path / "cpuinfo"
    assert may_repack(info)
    info.write_text("flags\t\t: sse avx512f\n")
    assert may_repack(info)
    info.write_text("flags\t\t: sse amx_bf16 avx512_fp16 amx_tile amx_int8\n")
    assert not may_repack(info)


def test_free_memory_is_read_from_the_system(tmp_path: Path) -> None:
    """What can be allocated without swapping; a lot where the system does not say."""
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:  1000 kB\nMemAvailable:     500 kB\n")
    assert (free_memory(info), total_memory(info)) == (500 * 1024, 1000 * 1024)
    assert min(free_memory(tmp_path / "none"), total_memory(tmp_path / "none")) > 1 << 60


@pytest.mark.parametrize(
    ("chosen", "limit"), [({}, 2048), ({"embed_tokens": 100}, 100), ({"embed_tokens": 9999}, 4096)]
)
def test_the_longest_text_to_embed(chosen: dict[str, object], limit: int) -> None:
    """Bounded by itself, and never more than the context."""
    assert read("here", chosen).embed_limit(4096) == limit
    assert read("here", chosen).embed_limit(64) == 64


@pytest.mark.parametrize(
    "chosen", [{"lora": [{"path": "a", "scale": 1e9}]}, {"lora": [{"file": "a"}]}, {"pooling": "max"}, {"lora": "a"}]
)
def test_adapters_and_pooling_are_checked(chosen: dict[str, object]) -> None:
    """Names, types, ranges."""
    with pytest.raises(ConfigError, match="here: "):
        read("here", chosen)
