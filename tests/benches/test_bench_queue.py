"""The queue bench: its arithmetic, its way with contestants that fail, one short run of the whole."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import psutil
import pytest

import benches.__main__
from benches import figures, protocol, queue, server, venvs
from benches.contestants import ContestantFailed, Entrant, Turn
from benches.figures import Depth, Ratios, Round, Row
from velesio.queue.embedded import EmbeddedValkey


def row(name, p50_ms=None, jobs_per_s=None, **fields):
    return Row(name=name, p50_ms=p50_ms, jobs_per_s=jobs_per_s, **fields)


# Figures


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [5.0, 1.0, 4.0, 2.0], [float(n % 17) for n in range(201)]])
def test_percentiles_agree_with_the_median_and_the_ends(values):
    """The half is the median, 0 and 1 are the least and the greatest, whatever the order."""
    assert figures.percentile(values, 0.5) == pytest.approx(statistics.median(values))
    assert figures.percentile(values, 0.0) == min(values)
    assert figures.percentile(values, 1.0) == max(values)


def test_percentiles_lie_between_neighbours():
    """A part between two values is interpolated."""
    assert figures.percentile([float(n) for n in range(101)], 0.99) == pytest.approx(99.0)
    assert figures.percentile([10.0, 20.0], 0.25) == pytest.approx(12.5)


def test_a_round_is_made_of_latencies_and_a_count():
    """Jobs/s count the time until the last job of the flood ended."""
    made = figures.round_of([2.0, 1.0, 3.0], 900, 3.0)
    assert (made.p50_ms, made.samples, made.jobs_per_s) == (2.0, 3, 300.0)
    assert 2.0 < made.p99_ms <= 3.0


def test_a_row_is_the_median_of_its_rounds():
    """One round that the machine disturbed does not move a figure, each figure having its own median."""
    measured = row("x")
    measured.rounds = [
        Round(p50_ms=1.0, p99_ms=9.0, jobs_per_s=100.0, samples=5),
        Round(p50_ms=50.0, p99_ms=2.0, jobs_per_s=300.0, samples=5),
        Round(p50_ms=2.0, p99_ms=3.0, jobs_per_s=200.0, samples=5),
    ]
    measured.summarise()
    assert (measured.p50_ms, measured.p99_ms, measured.jobs_per_s) == (2.0, 3.0, 200.0)


def test_a_row_without_rounds_has_no_figures():
    """What was not measured is nothing, not zero."""
    measured = row("x")
    measured.summarise()
    assert measured.p50_ms is None
    assert measured.jobs_per_s is None


def test_ratios_take_the_best_of_the_others_for_each_figure():
    """The quickest and the one with most jobs/s may be two; what is missing is no rival."""
    rivals = [row("quick", 2.0, 500.0), row("many", 8.0, 2000.0), row("gone", missing="not installed")]
    found = figures.ratios(row(figures.OWN, 1.0, 4000.0), rivals)
    assert found.p50_vs_best == pytest.approx(0.5)
    assert found.jobs_per_s_vs_best == pytest.approx(2.0)


def test_rivals_with_polling_turned_up_have_ratios_of_their_own():
    """The headline compares with what documentation shows; those that say so count everybody."""
    rivals = [row("plain", 4.0, 1000.0), row("turned up", 2.0, 2000.0, as_documented=False)]
    found = figures.ratios(row(figures.OWN, 1.0, 4000.0), rivals)
    assert (found.p50_vs_best, found.jobs_per_s_vs_best) == (0.25, 4.0)
    assert (found.p50_vs_best_polling, found.jobs_per_s_vs_best_polling) == (0.5, 2.0)


def test_ratios_without_rivals_are_nothing():
    """No rival, or no figure of Velesio's own, gives no ratio."""
    assert figures.ratios(row(figures.OWN, 1.0, 4000.0), [row("gone")]) == Ratios()
    assert figures.ratios(row(figures.OWN), [row("x", 1.0, 10.0)]) == Ratios()


def test_added_latency_and_depth():
    """Added latency is a difference in ms; the depth ratios are deep over shallow."""
    depth = Depth(
        shallow_jobs=10,
        deep_jobs=100,
        samples=1,
        enqueue_shallow_ms=0.2,
        enqueue_deep_ms=0.3,
        take_shallow_ms=0.4,
        take_deep_ms=0.2,
    )
    found = figures.ratios(row(figures.OWN, 1.0, 1.0), [], row("direct", 0.25, 1.0), depth)
    assert found.added_latency_ms == pytest.approx(0.75)
    assert found.depth_enqueue_p50 == pytest.approx(1.5)
    assert found.depth_take_p50 == pytest.approx(0.5)


# Measuring


async def test_serial_is_one_job_after_another():
    """As many samples as jobs, and never two at once."""
    running = []

    async def call():
        assert not running
        running.append(1)
        await asyncio.sleep(0)
        running.clear()

    assert len(await protocol.serial(call, jobs=20, seconds=60.0)) == 20


@pytest.mark.parametrize("jobs", [1, 1000])
async def test_serial_ends_in_time_but_not_before_three(jobs):
    """A slow contestant is not waited for; a percentile of fewer than three would be none."""
    assert len(await protocol.serial(lambda: asyncio.sleep(0.002), jobs, seconds=0.0)) == 3
    assert len(protocol.serial_blocking(lambda: time.sleep(0.002), jobs, seconds=0.0)) == 3


async def test_flood_keeps_its_jobs_in_flight():
    """So many jobs run at once and no more, and each is counted once."""
    running, most, ended = 0, 0, 0

    async def call():
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        ended += 1

    jobs, seconds = await protocol.flood(call, in_flight=7, seconds=0.05)
    assert most == 7
    assert jobs == ended >= 7
    assert seconds >= 0.05


def test_blocking_flood_keeps_its_jobs_in_flight():
    """The same with threads."""
    lock, running, most, ended = threading.Lock(), 0, 0, 0

    def call():
        nonlocal running, most, ended
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
            ended += 1

    jobs, seconds = protocol.flood_blocking(call, in_flight=5, seconds=0.2)
    assert most == 5
    assert jobs == ended >= 5
    assert seconds >= 0.2


def test_a_failing_call_fails_the_flood():
    """A contestant's error is not counted as a quick job."""

    def call():
        raise ValueError("no")

    with pytest.raises(RuntimeError, match="3 of 3"):
        protocol.flood_blocking(call, in_flight=3, seconds=1.0)


# Contestants


def test_a_contestant_that_dies_says_why(tmp_path):
    """Its status and its last words are in the error."""
    entrant = Entrant(name="x", module="benches.no_such_module")
    turn = Turn(entrant, sys.executable, "redis://127.0.0.1:1/0", tmp_path / "log")
    with pytest.raises(ContestantFailed, match=r"status 1.*No module named"), turn:
        pass


def test_a_contestant_that_babbles_is_refused(tmp_path):
    """What is not JSON is no greeting."""
    turn = Turn(Entrant(name="x", module="this"), sys.executable, "redis://127.0.0.1:1/0", tmp_path / "log")
    with pytest.raises(ContestantFailed, match="Zen of Python"), turn:
        pass


def test_every_rival_is_pinned():
    """Each rival that is measured has a list of exact versions, and each list a rival."""
    pinned = venvs.pinned()
    assert set(pinned) == {entrant.venv for entrant in queue.ENTRANTS if entrant.venv}
    assert all("==" in requirement for requirements in pinned.values() for requirement in requirements)


def test_a_rival_that_cannot_be_installed_is_missing(tmp_path):
    """The reason is pip's; a second look does not take the half-made venv for a whole one."""
    listed = tmp_path / "rivals.txt"
    listed.write_text(f"# none\nbroken: {tmp_path}/no-such-package.whl\n", encoding="utf-8")
    with pytest.raises(venvs.MissingRival, match="cannot be installed: ERROR"):
        venvs.python_of("broken", folder=tmp_path, listed=listed)
    with pytest.raises(venvs.MissingRival, match="not installed here"):
        venvs.python_of("broken", install=False, folder=tmp_path, listed=listed)


def test_the_broker_is_set_up_as_the_embedded_one(tmp_path):
    """Every contestant gets the durability that Velesio's users get."""
    words = EmbeddedValkey(tmp_path)._options()
    embedded = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    address = {"port", "unixsocket", "unixsocketperm", "tcp-backlog"}
    assert {name: value for name, value in embedded.items() if name not in address} == server.SETTINGS


# The whole


def test_an_unknown_bench_is_refused():
    """The message names those there are."""
    done = subprocess.run(
        [sys.executable, "-m", "benches", "speed"], cwd=venvs.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "queue" in done.stderr


def test_a_report_that_could_not_be_written_is_refused_at_once(tmp_path):
    """Not after the measurement."""
    with pytest.raises(SystemExit) as refused:
        benches.__main__.main(["queue", "--json", str(tmp_path / "none" / "x.json")])
    assert refused.value.code == 2


def installed_rival():
    for name in ("rq", "dramatiq", "arq", "celery", "taskiq-redis", "streaq"):
        try:
            venvs.python_of(name, install=False)
        except venvs.MissingRival:
            continue
        return name
    return ""


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """A quick run of Velesio and of one rival: an installed one if there is any. Its report, and its folder."""
    folder = tmp_path_factory.mktemp("bench")
    file = folder / "report.json"
    temporary = folder / "tmp"
    temporary.mkdir()
    rival = installed_rival()
    command = [sys.executable, "-m", "benches", "queue", "--quick", "--no-install", "--json", str(file)]
    done = subprocess.run(
        [*command, "--only", "velesio", "--only", rival or "rq"],
        cwd=venvs.ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text(encoding="utf-8")), done.stdout, temporary, rival


def test_a_run_measures_velesio(quick_run):
    """Every figure of Velesio's is there and is possible; so are the circumstances."""
    report, printed, _, _ = quick_run
    rows = {row["name"]: row for row in report["rows"]}
    for name in (figures.OWN, "velesio, one process"):
        assert 0 < rows[name]["p50_ms"] <= rows[name]["p99_ms"]
        assert rows[name]["jobs_per_s"] > 0
        assert rows[name]["versions"]["velesio"]
        assert name in printed
    assert report["direct"]["p50_ms"] < rows[figures.OWN]["p50_ms"]
    assert report["depth"]["deep_jobs"] == 10_000
    assert report["ratios"]["added_latency_ms"] > 0
    assert report["ratios"]["depth_enqueue_p50"] > 0
    assert report["ratios"]["depth_take_p50"] > 0
    assert "velesio" in report["circumstances"]["command"]
    assert report["broker_settings"]["appendonly"] == "yes"


def test_a_run_compares_or_says_what_is_missing(quick_run):
    """A rival has figures and ratios, or a row with the reason why not."""
    report, printed, _, rival = quick_run
    rows = {row["name"]: row for row in report["rows"]}
    if not rival:
        assert "not installed" in rows["rq"]["missing"]
        assert "rq: missing: not installed" in printed
        assert report["ratios"]["p50_vs_best"] is None
        return
    others = [row for row in report["rows"] if not row["name"].startswith("velesio")]
    assert all(not row["missing"] for row in others)
    best = min(row["p50_ms"] for row in others)
    assert report["ratios"]["p50_vs_best"] == pytest.approx(rows[figures.OWN]["p50_ms"] / best)


def test_a_run_leaves_nothing_behind(quick_run):
    """No process and no file: neither servers nor workers nor their folders."""
    _, _, temporary, _ = quick_run
    assert not list(temporary.iterdir())
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if str(temporary) in line]
