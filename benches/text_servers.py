"""The servers of the text bench, each as one process group: started, waited for, measured, ended."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import psutil

from benches import text_llama_server, venvs
from benches.server import free_port
from benches.venvs import ROOT

SPINS = "1000"
"""Velesio's own; a test compares them."""

_PLAIN = ("--set", "backends.llama.speculation=off")
_STARTING = 60.0
_ENDING = 20.0
_WORDS = 400
"""Characters of a failed server's log that are shown."""
_RIVAL = "llama-cpp-python"


class ServerFailed(Exception):
    """A server died, or was not ready in time."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What every server is told alike."""

    model: str
    threads: int
    slots: int = 16
    """Clients that are served together."""
    context: int = 4096
    """Tokens that each client may use."""
    batch: int = 512
    """Tokens computed in one step at most."""
    repack: bool = True
    """Whether weights are rearranged for the CPU; llama.cpp crashes with it where the CPU has AMX."""


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """One server to be measured."""

    name: str
    command: Callable[[Machine, int], list[str]]
    """From the port on which it shall listen."""
    health: str
    """A path that answers 200 when requests may come."""
    path: str = "/completion"
    """Where it takes completions."""
    environment: dict[str, str] = {}
    openai: bool = False
    """Whether it speaks OpenAI's completions only."""


def velesio(machine: Machine, port: int) -> list[str]:
    """`python -m velesio --role all` with the embedded broker, as it comes."""
    return [sys.executable, "-m", "velesio", *_settings(machine, port)]


def velesio_plain(machine: Machine, port: int) -> list[str]:
    """The same without guesses ahead, which llama-server does not make by itself either: greedy answers to random words
    soon repeat themselves, and are guessed too easily."""
    return [*velesio(machine, port), *_PLAIN]


def velesio_watched(machine: Machine, port: int) -> list[str]:
    """The same, with its threads' clocks read: see `benches.text_watched`."""
    return [sys.executable, "-m", "benches.text_watched", *_settings(machine, port), *_PLAIN]


def velesio_images(_machine: Machine, port: int) -> list[str]:
    """`python -m velesio --role all` with the demo checkpoint alone, drawing at the size that is asked for."""
    settings = {
        "server.port": port,
        "log.level": "warning",
        "worker.models": '["velesio-demo"]',
        "backends.diffusion.enlarge": "never",
    }
    return [sys.executable, "-m", "velesio", "--role", "all", *_words(settings)]


def _settings(machine: Machine, port: int) -> list[str]:
    settings = {
        "server.port": port,
        "log.level": "warning",
        "worker.models": '["smollm2*"]',  # the demo image model would load beside the measurement
        "backends.llama.slots": machine.slots,
        "backends.llama.context": machine.context,
        "backends.llama.batch": machine.batch,
        "backends.llama.threads": machine.threads,
        "backends.llama.repack": "on" if machine.repack else "off",
    }
    return ["--role", "all", *_words(settings)]


def _words(settings: Mapping[str, object]) -> list[str]:
    """Settings as the command line has them."""
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def llama_server(*flags: str) -> Callable[[Machine, int], list[str]]:
    """llama-server of the same llama.cpp, with further `flags`.

    Its cache in RAM copies the states of slots that are taken over, which none of the rows can use.
    """

    def command(machine: Machine, port: int) -> list[str]:
        words = {
            "-m": machine.model,
            "--port": port,
            "-np": machine.slots,
            "-c": machine.slots * machine.context,
            "-b": machine.batch,
            "-t": machine.threads,
            "-tb": machine.threads,
            "--cache-ram": 0,
        }
        found = [str(text_llama_server.executable(build=False))]
        found += [str(part) for word in words.items() for part in word]
        return [*found, "--no-ui", *flags, *([] if machine.repack else ["--no-repack"])]

    return command


def llama_cpp_server(machine: Machine, port: int) -> list[str]:
    """`python -m llama_cpp.server`; as it comes, it ends a stream when the next request arrives."""
    words = {
        "--model": machine.model,
        "--port": port,
        "--n_ctx": machine.context,
        "--n_batch": machine.batch,
        "--n_threads": machine.threads,
        "--n_threads_batch": machine.threads,
        "--logits_all": False,  # every token's logits would be kept
        "--interrupt_requests": False,
    }
    python = venvs.python_of(_RIVAL, install=False, requirements=rival_requirements())
    start = ["-m", "llama_cpp.server"] if machine.repack else ["-m", "benches.text_unpacked"]
    return [str(python), *start, *(str(part) for word in words.items() for part in word)]


def rival_requirements() -> list[str]:
    """What pip installs for `python -m llama_cpp.server`: the version that Velesio runs on."""
    return [f"llama-cpp-python[server]=={text_llama_server.version()}"]


def prepare(contestant: Contestant, *, install: bool) -> str:
    """Builds or installs what a contestant needs; answers why it cannot be measured, or nothing."""
    try:
        if contestant.name.startswith("llama-server"):
            text_llama_server.executable(build=install)
        elif contestant.openai:
            venvs.python_of(_RIVAL, install=install, requirements=rival_requirements())
    except (text_llama_server.BuildFailed, venvs.MissingRival) as missing:
        return str(missing)
    return ""


class Running:
    """A server that takes requests."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    def memory(self) -> dict[str, float]:
        """MiB that each of its processes holds, shared pages divided among their users."""
        found: dict[str, float] = {}
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                held = process.memory_full_info().pss / 2**20
                found[process.name()] = round(found.get(process.name(), 0.0) + held, 1)
        return found

    def peak(self) -> float:
        """MiB that its own process has held at most so far; 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)

    def cpu(self) -> float:
        """Seconds that its processes have computed."""
        total = 0.0
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def metrics(self) -> dict[str, float]:
        """Sums of Velesio's metrics, by name."""
        found: dict[str, float] = {}
        for line in get(self.port, "/metrics")[1].decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
        return found

    def outcomes(self) -> dict[str, float]:
        """Velesio's settled jobs, by outcome."""
        found: dict[str, float] = {}
        for line in get(self.port, "/metrics")[1].decode().splitlines():
            if line.startswith("velesio_jobs_total{"):
                labels, value = line.rsplit(" ", 1)
                outcome = labels.partition('outcome="')[2].partition('"')[0]
                found[outcome] = found.get(outcome, 0.0) + float(value)
        return found

    def buckets(self, name: str) -> dict[float, float]:
        """A histogram of Velesio's: how many values were at most so large, by that bound."""
        found: dict[float, float] = {}
        for line in get(self.port, "/metrics")[1].decode().splitlines():
            if line.startswith(f"{name}_bucket{{"):
                labels, value = line.rsplit(" ", 1)
                bound = float(labels.partition('le="')[2].partition('"')[0])
                found[bound] = found.get(bound, 0.0) + float(value)
        return found

    def family(self) -> list[psutil.Process]:
        """Its process, and those that it started."""
        return [self._process, *self._process.children(recursive=True)]


@contextlib.contextmanager
def running(contestant: Contestant, machine: Machine, folder: Path) -> Iterator[Running]:
    """The server, ready; `folder` must be new, and is where it runs.

    Raises:
        ServerFailed: with its last words.
    """
    folder.mkdir()
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            contestant.command(machine, port),
            cwd=folder,
            env=_environment() | contestant.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(contestant, process, port, log)
        yield Running(process, port)
    finally:
        _end(process)


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _environment() -> dict[str, str]:
    """This one without what would change a contestant: each keeps its own way with OpenMP."""
    others = ("VELESIO_", "LLAMA_", "OMP_", "GOMP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return kept | {"PYTHONPATH": str(ROOT)}


def _wait(contestant: Contestant, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _STARTING
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServerFailed(f"it ended with status {process.returncode}. {_said(log)}")
        if get(port, contestant.health)[0] == 200:
            return
        time.sleep(0.05)
    raise ServerFailed(f"it was not ready after {_STARTING:.0f} s. {_said(log)}")


def _said(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"Its last words: {' | '.join(line.strip() for line in lines[-3:])[-_WORDS:] or 'none'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end; what is left of it and of what it started after that is killed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)
        for left in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


CONTESTANTS = (
    Contestant(name="velesio", command=velesio_plain, health="/readyz"),
    Contestant(name="velesio, guessing ahead", command=velesio, health="/readyz"),
    Contestant(name="llama-server, separate", command=llama_server("--no-kv-unified"), health="/health"),
    Contestant(name="llama-server, unified", command=llama_server("--kv-unified"), health="/health"),
    Contestant(
        name="llama-server, short spins",  # OpenMP's threads sleep soon, as Velesio has them do
        command=llama_server("--no-kv-unified"),
        environment={"GOMP_SPINCOUNT": SPINS},
        health="/health",
    ),
    Contestant(
        name="llama_cpp.server",
        command=llama_cpp_server,
        health="/v1/models",
        path="/v1/completions",
        openai=True,
    ),
)
WATCHED = Contestant(name="velesio", command=velesio_watched, health="/readyz")
