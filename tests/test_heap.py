"""The heap: what is freed is given back."""

import ctypes
import threading

import psutil
import pytest

from velesio import heap

_MIB = 2**20


def test_what_another_thread_has_freed_leaves_the_process() -> None:
    """Though something that is still used lies between."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc")
    kept: list[bytes] = []

    def work() -> None:
        pieces = [bytes(2000) for _ in range(50_000)]
        kept.extend(pieces[::1000])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = psutil.Process().memory_info().rss
    heap.give_back()
    assert before - psutil.Process().memory_info().rss > 50 * _MIB
    assert len(kept) == 50


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without that function has its own ways."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap._trim.cache_clear()
    try:
        heap.give_back()
        assert heap._trim() is None
    finally:
        heap._trim.cache_clear()
