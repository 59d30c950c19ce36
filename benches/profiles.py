"""Profiles: where the time of each hot path goes, by py-spy, as shares of its samples.

A server is started for each path and asked by some clients while py-spy looks at it 250 times a second. Shares bear a
busy machine; what takes how long does not, and is left to the other benches.
"""

import argparse
import asyncio
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from benches import report
from benches.profile_stacks import Profile, read, shown
from benches.text_servers import Contestant, Machine, running

_SECONDS = 15.0
_QUICK = 3.0
_RATE = 250
_SHOWN = 14
_NOBODY = Machine(model="", threads=1)
_TEXT = ('worker.models=["smollm2*"]', "backends.llama.speculation=off", "backends.llama.slots=8")
_PICTURES = ('worker.models=["velesio-demo"]',)
_ECHO = ('models=[{name="noop",backend="echo",slots=64}]',)

Ask = Callable[[aiohttp.ClientSession, int], Awaitable[None]]
"""One request; the number is another for each."""


class Spy(msgspec.Struct, frozen=True, kw_only=True):
    """py-spy, and for how long it looks."""

    program: Path
    seconds: float

    def command(self, pid: int, file: Path) -> list[str]:
        """Writes each stack of a process that it meets, with how often."""
        words = [str(self.program), "record", "--pid", str(pid), "--duration", f"{self.seconds:.0f}"]
        return [*words, "--rate", str(_RATE), "--format", "raw", "--threads", "--nonblocking", "--output", str(file)]


class Hot(msgspec.Struct, frozen=True, kw_only=True):
    """A hot path."""

    what: str
    ask: Ask
    clients: int
    settings: tuple[str, ...]


async def _text(session: aiohttp.ClientSession, number: int) -> None:
    body = {"messages": [{"role": "user", "content": f"Tell me about number {number}."}], "max_tokens": 200}
    await _read(session, "/v1/chat/completions", body | {"stream": True, "temperature": 0.8, "ignore_eos": True})


async def _noop(session: aiohttp.ClientSession, _number: int) -> None:
    await _read(session, "/completion", {"prompt": "a", "n_predict": 1})


async def _picture(session: aiohttp.ClientSession, number: int) -> None:
    body = {"prompt": "a red star", "steps": 20, "width": 64, "height": 64, "seed": number}
    await _read(session, "/sdapi/v1/txt2img", body | {"sampler_name": "DPM++ 2M Karras"})


async def _models(session: aiohttp.ClientSession, _number: int) -> None:
    async with session.get("/v1/models") as answer:
        answer.raise_for_status()
        await answer.read()


async def _read(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with session.post(path, json=body) as answer:
        answer.raise_for_status()
        async for _ in answer.content.iter_any():
            pass


PATHS = {
    "text-1": Hot(what="one stream of tokens", ask=_text, clients=1, settings=_TEXT),
    "text-8": Hot(what="eight streams of tokens", ask=_text, clients=8, settings=_TEXT),
    "noop": Hot(what="no-op jobs: enqueue, lease, settle, answer", ask=_noop, clients=32, settings=_ECHO),
    "pictures": Hot(what="eight pictures at a time, 64 x 64", ask=_picture, clients=8, settings=_PICTURES),
    "models": Hot(what="GET /v1/models", ask=_models, clients=8, settings=_ECHO),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only the profiles have."""
    parser.add_argument("--only", action="append", choices=PATHS, metavar="NAME", help=f"one of {', '.join(PATHS)}")
    parser.add_argument("--seconds", type=float, default=_SECONDS, metavar="N", help="of each (default: %(default)g)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the stacks there, for flame graphs")


def run(options: argparse.Namespace) -> int:
    """Takes the profiles and prints them; 1 if py-spy is missing or a server fails."""
    spy = Spy(program=Path(sys.executable).with_name("py-spy"), seconds=_QUICK if options.quick else options.seconds)
    if not spy.program.exists():
        print("scripts/bench profiles: py-spy is missing: install velesio[dev]", file=sys.stderr)
        return 1
    around = report.circumstances()
    found: dict[str, Profile] = {}
    with tempfile.TemporaryDirectory(prefix="velesio-profiles-") as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        for name in options.only or PATHS:
            found[name] = _profile(name, spy, Path(folder), keep / f"{name}.txt")
            print(f"\n{name}: {PATHS[name].what}\n{shown(found[name], _SHOWN)}")
    if options.json:
        report.write(options.json, Profiles(bench="profiles", circumstances=around, profiles=found))
    return 0


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen."""

    bench: str
    circumstances: report.Circumstances
    profiles: dict[str, Profile]


def _profile(name: str, spy: Spy, folder: Path, file: Path) -> Profile:
    path = PATHS[name]
    settings = ("ports.llamacpp=0", "ports.sdapi=0", "log.level=warning", *path.settings)
    words = [word for one in settings for word in ("--set", one)]

    def command(_: Machine, port: int) -> list[str]:
        return [sys.executable, "-m", "velesio", "--role", "all", "--set", f"server.port={port}", *words]

    with running(Contestant(name=name, command=command, health="/readyz"), _NOBODY, folder / name) as server:
        asyncio.run(_asked(path, server.port, spy.command(server.family()[0].pid, file)))
    return read(file.read_text(encoding="utf-8").splitlines())


async def _asked(path: Hot, port: int, spy: list[str]) -> None:
    """Requests before that command looks, while it does, and until the last is answered."""
    numbers = itertools.count()
    over = False

    async def client(session: aiohttp.ClientSession) -> None:
        while not over:
            await path.ask(session, next(numbers))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:
        await asyncio.gather(*(path.ask(session, next(numbers)) for _ in range(path.clients)))  # what loads, loads now
        async with asyncio.TaskGroup() as group:
            for _ in range(path.clients):
                group.create_task(client(session))
            looking = await asyncio.create_subprocess_exec(*spy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            await looking.wait()
            over = True
