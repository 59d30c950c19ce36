"""Profiles: how py-spy's stacks are counted."""

from benches.profile_stacks import read, shown, thread_name
from benches.profiles import PATHS

STACKS = (
    "thread (18322): MainThread;run (asyncio/runners.py:118);answer (velesio/http/a.py:7);write (asyncio/x.py:3) 6",
    "thread (18322): MainThread;run (asyncio/runners.py:118);answer (velesio/http/a.py:9);write (asyncio/x.py:4) 1",
    "thread (18330): engine-noop_0;step (velesio/engines.py:3);step (velesio/engines.py:4) 3",
)


def test_lines_of_a_function_are_one_place() -> None:
    """What runs by itself is the last frame."""
    found = read(STACKS)
    assert found.samples == 10
    assert found.threads == {"MainThread": 0.7, "engine-noop": 0.3}
    assert found.own == {"MainThread: write (asyncio/x.py)": 0.7, "engine-noop: step (velesio/engines.py)": 0.3}


def test_callers_are_velesio_s_and_count_once_in_a_stack() -> None:
    """A function that calls itself too."""
    assert read(STACKS).below == {
        "MainThread: answer (velesio/http/a.py)": 0.7,
        "engine-noop: step (velesio/engines.py)": 0.3,
    }


def test_threads_of_pools_have_no_numbers() -> None:
    """So that those of one pool are one."""
    assert thread_name("thread (0x1F): asyncio_0") == "asyncio"
    assert thread_name("thread (7): MainThread") == "MainThread"


def test_the_largest_shares_are_shown() -> None:
    """As many as are asked for."""
    text = shown(read(STACKS), 1)
    assert "10 samples: MainThread 70%, engine-noop 30%" in text
    assert text.count("write (asyncio/x.py)") == 1
    assert "step" not in text


def test_each_path_has_its_clients() -> None:
    """The hot paths of texts, pictures, jobs and lists."""
    assert set(PATHS) == {"text-1", "text-8", "noop", "pictures", "models"}
    assert all(path.clients >= 1 and path.settings for path in PATHS.values())
