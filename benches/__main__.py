"""The command: `python -m benches NAME [options]`; a module of this package for each name."""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

BENCHES = {
    "queue": "no-op jobs through Velesio and six other job queues, on the same broker settings",
    "text": "text through Velesio, llama-server and python -m llama_cpp.server, on the same model and llama.cpp",
    "images": "pictures by Velesio's engine and by diffusers' own pipeline, on the same weights",
    "gateway": "what the gateway costs: no-op requests against a bare aiohttp handler, a thousand streams at once",
    "growth": "how cost and memory grow with clients, prompts, waiting jobs, workers and pictures' sizes",
    "simulation": "the queue with a thousand workers in virtual time: shares, waits, losses, what each script costs",
    "pages": "no bench: brings the tables and plots of docs/performance.md and docs/planning.md up to date",
    "profiles": "where the time of each hot path goes, by py-spy",
    "soak": "an hour of mixed load: does a server grow, is anything lost?",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one bench; answers the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures Velesio.")
    benches = parser.add_subparsers(dest="bench", metavar="NAME", required=True)
    for name, summary in BENCHES.items():
        bench = benches.add_parser(name, help=summary, description=summary)
        bench.add_argument("--quick", action="store_true", help="a short run: shows that it works, not how fast")
        bench.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
        importlib.import_module(f"benches.{name}").add_options(bench)
    chosen = parser.parse_args(arguments)
    if chosen.json and not chosen.json.absolute().parent.is_dir():
        parser.error(f"--json {chosen.json}: there is no folder {chosen.json.absolute().parent}")  # not after an hour
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # ends what was started
    status: int = importlib.import_module(f"benches.{chosen.bench}").run(chosen)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
