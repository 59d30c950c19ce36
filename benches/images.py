"""The image bench: Velesio's engine against diffusers' own `StableDiffusionPipeline`, on the same weights.

Both are given the same jobs, steps and threads, in one process, in turns: in each round every scenario is run by one,
then by the other, in an order that is drawn. A ratio is the median over the rounds of quotients of neighbours, so that
what slows the machine slows both. Rows are those of the design: eight jobs at once at three sizes, one job alone, one
that comes late, and checkpoints changed back and forth. docs/image-models.md says how to read them.
"""

import argparse
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from benches import report
from velesio.backends.base import Catalogue, Engine, ModelSpec, Work
from velesio.backends.diffusion import backend
from velesio.jobs import Completed, Event, Failed, Image, Job, is_final

if TYPE_CHECKING:
    from benches.images_pipeline import Pipeline

TOGETHER = 8
STEPS = 20
SAMPLERS = ("Euler", "DPM++ 2M")
REACH = {
    "eight_at_64": (2.0, True),
    "eight_at_128": (1.6, True),
    "eight_at_256": (1.0, True),
    "one_alone": (1.05, False),
    "one_late": (0.6, False),
    "memory_after_switches": (1.05, False),
}
"""What each ratio must reach, and whether more is better."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 3
    switches: int = 20
    seed: int = 1
    """Of the order of the turns."""


QUICK = Plan(rounds=1, switches=4)


class Row(msgspec.Struct, kw_only=True):
    """One scenario over all rounds, in seconds."""

    name: str
    own: list[float] = []
    pipeline: list[float] = []
    ratios: list[float] = []

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    bench: str
    circumstances: report.Circumstances
    plan: Plan
    weights: str
    threads: int
    versions: dict[str, str]
    rows: list[Row]
    memory_mib: list[float]
    """Resident after each change of the checkpoint."""
    ratios: dict[str, float]
    passed: dict[str, bool]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the medians over (3)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads of both; 0: as torch chooses")
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(REACH), help="measure only this row")


def run(options: argparse.Namespace) -> int:
    """Measures, prints the table; 1 if a row misses its mark in a full run."""
    import torch  # noqa: PLC0415 - only here

    if options.threads:
        torch.set_num_threads(options.threads)
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=options.rounds)
    before = report.circumstances()
    with tempfile.TemporaryDirectory(prefix="velesio-images-") as folder:
        rows, memory, weights = measure(Path(folder), plan, options.only or list(REACH))
    ratios = {row.name: row.ratio for row in rows}
    passed = {name: reached(name, ratio) for name, ratio in ratios.items()}
    print(table(rows))
    if options.json:
        found = Report(
            bench="images",
            circumstances=before,
            plan=plan,
            weights=weights,
            threads=torch.get_num_threads(),
            versions=versions(),
            rows=rows,
            memory_mib=memory,
            ratios=ratios,
            passed=passed,
        )
        report.write(options.json, found)
    return 0 if options.quick or all(passed.values()) else 1


def reached(name: str, ratio: float) -> bool:
    """Whether a ratio is as good as it must be."""
    mark, more = REACH[name]
    return ratio >= mark if more else ratio <= mark


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    heads = ["row", "velesio s", "pipeline s", "ratio", "must reach"]
    lines = [
        [
            row.name,
            report.number(statistics.median(row.own) if row.own else None, 3),
            report.number(statistics.median(row.pipeline) if row.pipeline else None, 3),
            report.number(row.ratio),
            f"{'>=' if REACH[row.name][1] else '<='} {REACH[row.name][0]:.2f}",
        ]
        for row in rows
    ]
    return report.table(heads, lines)


def versions() -> dict[str, str]:
    """Of the libraries that compute."""
    import diffusers  # noqa: PLC0415 - slow
    import torch  # noqa: PLC0415

    return {"torch": str(torch.__version__), "diffusers": diffusers.__version__}


def measure(folder: Path, plan: Plan, names: Sequence[str]) -> tuple[list[Row], list[float], str]:
    """All rows."""
    from benches.images_pipeline import Pipeline  # noqa: PLC0415 - other benches need not wait for torch
    from benches.images_weights import checkpoint  # noqa: PLC0415

    path, weights = checkpoint(folder)
    rows = [Row(name=name) for name in names]
    timed = [row for row in rows if row.name != "memory_after_switches"]
    order = random.Random(plan.seed)
    with studio(path) as own:
        pipeline = Pipeline(path)
        for row in timed:  # whatever is compiled, cached or learned at first
            warm_up(row, own, pipeline)
        for _ in range(plan.rounds):
            for row in order.sample(timed, len(timed)):
                turn(row, own, pipeline, order, keep=True)
    memory: list[float] = []
    for row in rows:
        if row.name == "memory_after_switches":
            memory = switch(path, plan.switches)
            row.ratios = [memory[-1] / memory[1]]
    return rows, memory, weights


def warm_up(row: Row, own: "Studio", pipeline: "Pipeline") -> None:
    """Lets the engine learn what size of a group pays, and both compile what they compile."""
    if row.name in {"one_late", "one_alone"}:
        own.draw(jobs_of(64, 1))
        return
    size = int(row.name.rpartition("_")[2])
    own.draw(jobs_of(size, TOGETHER))
    pipeline.draw(jobs_of(size, len(SAMPLERS)))


def turn(row: Row, own: "Studio", pipeline: "Pipeline", order: random.Random, *, keep: bool) -> None:
    """One scenario by both, one right after the other."""
    if row.name == "one_late":
        mine, theirs = own.late(), pipeline.draw(jobs_of(64, 1)) * (1 + (TOGETHER - 1) / 2)
        if keep:
            row.own.append(mine)
            row.pipeline.append(theirs)
            row.ratios.append(mine / theirs)
        return
    size = 64 if row.name == "one_alone" else int(row.name.rpartition("_")[2])
    jobs = jobs_of(size, 1 if row.name == "one_alone" else TOGETHER)
    sides: list[Callable[[Sequence[Image]], float]] = [own.draw, pipeline.draw]
    first = order.random() < 0.5
    seconds = [side(jobs) for side in (sides if first else sides[::-1])]
    mine, theirs = seconds if first else seconds[::-1]
    if keep:
        row.own.append(mine)
        row.pipeline.append(theirs)
        row.ratios.append(mine / theirs if row.name == "one_alone" else theirs / mine)


def jobs_of(size: int, count: int) -> list[Image]:
    """Different prompts, seeds and samplers, the same size and steps."""
    return [
        Image(
            f"a red star, number {number}",
            width=size,
            height=size,
            steps=STEPS,
            seed=number,
            sampler=SAMPLERS[number % len(SAMPLERS)],
        )
        for number in range(count)
    ]


class Studio:
    """An engine, driven as its runner drives it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self._name = name
        self._ended: set[str] = set()

    def draw(self, jobs: Sequence[Image]) -> float:
        """Seconds for jobs that come together."""
        began = time.perf_counter()
        self._until([self._start(job) for job in jobs])
        return time.perf_counter() - began

    def late(self) -> float:
        """Seconds of a job that comes when seven are half done. The pipeline would first end these one by one."""
        jobs = jobs_of(64, TOGETHER)
        seven = self.draw(jobs[:-1])
        works = [self._start(job) for job in jobs[:-1]]
        began = time.perf_counter()
        while time.perf_counter() - began < seven / 2:
            self.engine.step()
        came = time.perf_counter()
        last = self._start(jobs[-1])
        self._until([last])
        took = time.perf_counter() - came
        self._until(works)
        return took

    def _start(self, params: Image) -> Work:
        work = Work(Job.new(self._name, params), self._receive)
        if not self.engine.admit(work):
            raise RuntimeError("the engine has no room")
        return work

    def _until(self, works: Sequence[Work]) -> None:
        while any(work.job.id not in self._ended for work in works):
            self.engine.step()

    def _receive(self, work: Work, event: Event) -> None:
        if isinstance(event, Failed):
            raise RuntimeError(event.message)  # noqa: TRY004 - the job failed, its type is right
        if is_final(event):
            assert isinstance(event, Completed)
            self._ended.add(work.job.id)


@contextmanager
def studio(path: Path) -> Any:
    """An engine on a checkpoint, closed at the end."""
    made = backend(Catalogue(models_dir=path.parent, specs=(ModelSpec(name="bench", path=path, options=_OWN_SIZE),)))
    engine = made.load(made.models()[0], lambda _part: None)
    try:
        yield Studio(engine, "bench")
    finally:
        engine.close()


_OWN_SIZE = {"enlarge": "never"}
"""Pictures are drawn at the size asked for, as the pipeline draws them."""


def switch(path: Path, times: int) -> list[float]:
    """Resident MiB after each of so many loads, in which a picture is drawn."""
    sizes = []
    for _ in range(times + 1):
        with studio(path) as own:
            own.draw(jobs_of(64, 1))
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    return sizes
