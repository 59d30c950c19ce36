"""The soak: what counts as a leak, which jobs are missing, how its load is held, what it lays out."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import msgspec
import psutil
import pytest

from benches import soak_load
from benches.soak import _errors
from benches.soak_client import Client
from benches.soak_jobs import Seen, outcomes, seen, unaccounted
from benches.soak_levels import Held, Levels, families, growth, lasting_mib, leaks, slope, verdicts, wrong
from benches.soak_load import Load, Pace
from benches.soak_servers import furnish
from benches.soak_watch import held
from velesio import config
from velesio.backends.llama import gguf
from velesio.backends.llama.discovery import demo_file
from velesio.jobs import Failed
from velesio.queue import wire

HELD = Held(memory_mib=400, threads=6, files=20, sockets=8)
REST = Levels(
    seconds=0,
    resting=True,
    server=HELD,
    broker=HELD,
    worker=None,
    used_mib=10,
    cores=0,
    temp_files=0,
    temp_mib=0,
    data_files=3,
    sequences=0,
    cells=0,
    inflight=0,
    pending=0,
    requests=0,
    kills=0,
)


def rests(**grown: list[float]) -> list[Levels]:
    """One rest a minute, whose server holds these."""
    count = len(next(iter(grown.values())))
    return [
        msgspec.structs.replace(
            REST,
            seconds=60.0 * place,
            server=msgspec.structs.replace(HELD, **{name: values[place] for name, values in grown.items()}),
        )
        for place in range(count)
    ]


def test_a_slope_is_that_of_the_nearest_line() -> None:
    """With the least squares; one point has none."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 0), (1, 1), (2, 0)]) == pytest.approx(0)
    assert slope([(1, 5)]) == 0.0


def test_growth_begins_when_caches_are_full() -> None:
    """The first quarter does not count."""
    filling = [100.0, 200.0, *[300.0] * 7]
    assert growth(list(enumerate(filling))) == (0.0, 0.0)
    rate, grown = growth([(float(second), 300.0 + second) for second in range(9)])
    assert (rate, grown) == (pytest.approx(3600), pytest.approx(6))
    assert growth([]) == (0.0, 0.0)


@pytest.mark.parametrize(("name", "few", "many"), [("memory_mib", 5, 20), ("threads", 0.1, 1), ("sockets", 0.4, 2)])
def test_what_grows_beyond_its_bound_is_wrong(name: str, few: float, many: float) -> None:
    """By a little each minute it may, by more it may not."""
    assert wrong(rests(**{name: [100 + few * place for place in range(9)]})) == []
    (found,) = wrong(rests(**{name: [100 + many * place for place in range(9)]}))
    assert f"{100 + 8 * many:g} at last" in found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sequences": 1.0}, "1 sequences, and nothing runs"),
        ({"inflight": 2.0}, "2 jobs in flight"),
        ({"cells": 7.0}, "7 cells"),
        ({"pending": 1}, "1 jobs of the queue"),
        ({"keys": {"j": 4, "j (no time to live)": 3}}, "3 keys j (no time to live)"),
    ],
)
def test_what_is_held_by_nobody_is_a_leak(fields: dict[str, object], said: str) -> None:
    """At one rest is enough; each kind is named once."""
    bad = msgspec.structs.replace(REST, **fields)
    (found,) = leaks([REST, bad, bad])
    assert said in found


def test_some_keys_live_for_ever() -> None:
    """Those of API keys and the audit log."""
    assert (
        leaks([msgspec.structs.replace(REST, keys={"keys (no time to live)": 1, "audit (no time to live)": 1})]) == []
    )


def test_keys_are_counted_by_family() -> None:
    """Those without a time to live are counted apart too."""
    assert families([("v:j:1", 10), ("v:j:2", -1), ("x", 5)]) == {"j": 2, "j (no time to live)": 1, "x": 1}


def test_a_family_of_keys_grows_no_further_than_its_bound() -> None:
    """Series fill for an hour; records of jobs come and go with the load."""

    def grown(family: str, each: int) -> bool:
        levels = [
            msgspec.structs.replace(REST, seconds=300.0 * place, keys={family: each * place}) for place in range(13)
        ]
        (verdict,) = [verdict for verdict in verdicts(levels) if verdict.name == f"keys: {family}"]
        return not verdict.flat

    assert not grown("ser", 30)
    assert grown("ser", 40)
    assert not grown("j", 2)
    assert grown("j", 100)


def test_what_grows_by_design_is_taken_off_the_brokers_memory() -> None:
    """Bytes of the families that have a bound of their own."""
    assert lasting_mib(msgspec.structs.replace(REST, key_kib={"ser": 1024.0, "j": 512.0})) == 9.0


def job(state: str, code: str = "") -> Seen:
    return Seen(state=state, capability="text", model="m", attempts=1, crashes=0, code=code)


def test_every_job_is_accounted_for() -> None:
    """Done, cancelled and refused are as they should be, if the broker has counted as many."""
    jobs = [job("done"), job("done"), job("cancelled"), job("failed", "context_length_exceeded")]
    assert outcomes(jobs) == {"done": 2, "cancelled": 1, "refused: context_length_exceeded": 1}
    assert unaccounted(jobs, Counter(done=2, cancelled=1, failed=1)) == []


def test_jobs_that_failed_or_never_ended_are_told() -> None:
    """And those of which there is no record."""
    found = unaccounted([job("running"), job("failed", "worker_lost")], Counter(done=1, failed=1))
    assert found[:2] == ["1 jobs unfinished", "1 jobs failed: worker_lost"]
    assert "the broker counted" in found[2]


def test_a_record_tells_why_its_job_failed() -> None:
    """From the final event, or from the reason that is kept without it."""
    final = wire.encode(Failed("job_failed", "x"))
    record = [b"failed", b"text", b"m", b"3", b"1", b"1", final, None]
    assert seen(record) == Seen(state="failed", capability="text", model="m", attempts=2, crashes=1, code="job_failed")
    assert seen([*record[:6], None, b"worker_lost"]).code == "worker_lost"


def test_the_pace_slackens_when_more_is_used_than_may_be() -> None:
    """And quickens otherwise, within bounds."""
    pace = Pace(1.0)
    before = pace.pause
    pace.heed(2.0)
    assert pace.pause > before
    for _ in range(100):
        pace.heed(0.0)
    assert 0 < pace.pause < before


async def test_a_load_that_is_held_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way ends first; then nothing begins until it goes on."""
    begun, release, over = asyncio.Event(), asyncio.Event(), False

    async def wait(client: Client) -> None:
        begun.set()
        await release.wait()

    monkeypatch.setattr(soak_load, "KINDS", {"wait": (wait, 1)})
    async with aiohttp.ClientSession() as session:
        load = Load(session, Pace(1.0))
        running = asyncio.create_task(load.run(2, lambda: over))
        await begun.wait()
        holding = asyncio.create_task(load.hold())
        await asyncio.sleep(0)
        assert not holding.done()
        release.set()
        await holding
        assert load.held
        done = load.done["wait"]
        assert done > 0
        begun.clear()
        load.go_on()
        await begun.wait()
        over = True
        await running
        assert load.done["wait"] > done


async def test_a_request_that_breaks_is_counted_and_the_load_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its words."""

    async def broken(client: Client) -> None:
        raise KeyError("choices")

    monkeypatch.setattr(soak_load, "KINDS", {"broken": (broken, 1)})
    async with aiohttp.ClientSession() as session:
        load = Load(session, Pace(1.0))
        await load.tour()
    assert (load.failed, load.outcomes) == (Counter(broken=1), Counter(failed=1))
    assert load.failures == ["broken: KeyError: 'choices'"]


def test_the_home_of_the_servers_is_complete(tmp_path: Path) -> None:
    """Its configuration is valid, its files are there, the adapter is one that llama.cpp reads."""
    model = demo_file()
    assert model is not None
    furnish(tmp_path, model)
    found = config.load(tmp_path / "config.toml", {}, [])
    assert [spec.name for spec in found.models] == ["first", "second"]
    files = [file for file in (tmp_path / "models").rglob("*") if not file.is_dir()]
    assert len(files) >= 7
    assert all(file.exists() for file in files)
    assert gguf.read(tmp_path / "models" / "adapter.gguf").values["general.type"] == "adapter"


def test_a_process_is_read_from_proc(tmp_path: Path) -> None:
    """A file that is deleted while it is open is told apart."""
    before = held(psutil.Process())
    with (tmp_path / "x").open("w"):
        (tmp_path / "x").unlink()
        after = held(psutil.Process())
    assert (after.files - before.files, after.deleted - before.deleted) == (1, 1)


def test_errors_in_the_log_are_told_once_each(tmp_path: Path) -> None:
    """A traceback that is no JSON too."""
    log = tmp_path / "server.log"
    log.write_text(
        '{"event": "fine", "level": "info"}\n{"event": "bad", "level": "error"}\n{"event": "bad", "level": "error"}\n'
        "Traceback (most recent call last):\n"
    )
    assert _errors(log) == ["2 errors in the log: bad", "1 errors in the log: Traceback (most recent call last):"]
