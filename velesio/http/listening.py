"""Ports: the server's own, and those where clients of other servers look for them."""

import errno
import resource

import structlog
from aiohttp import web

from velesio.config import PortsSection, ServerSection
from velesio.errors import ConfigError

log = structlog.get_logger("velesio.http")

USUAL = {"llamacpp": 1337, "sdapi": 7860}
"""Where the earlier Velesio server had its llama-server, and where A1111's web UI listens."""


_FILES = 65_536
"""Open files where the system sets no limit."""


async def open_ports(
    runner: web.AppRunner, server: ServerSection, ports: PortsSection, *, standalone: bool
) -> dict[str, int]:
    """Listens at `server.port`, then at each port of `[ports]`; answers the further ones by name. One that is not
    configured but only usual (with `standalone`) is left out if it is taken.

    Raises:
        ConfigError: a configured port cannot be had.
    """
    _raise_file_limit()
    await _open(runner, server.host, server.port, "server.port")
    opened = {}
    for name, port in wanted(ports, standalone=standalone).items():
        try:
            await _open(runner, server.host, port, f"ports.{name}")
        except PortTaken as error:
            if getattr(ports, name) != "auto":
                raise
            log.warning("port left out, another program has it", option=f"ports.{name}", error=error.message)
        else:
            opened[name] = port
            log.info("listening there too", option=f"ports.{name}", port=port)
    return opened


def _raise_file_limit() -> None:
    """As many connections as the system lets this process have: the usual soft limit of 1,024 is for programs that
    use `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        log.debug("open files may be more", before=soft, now=most)


def wanted(ports: PortsSection, *, standalone: bool) -> dict[str, int]:
    """The further ports, by name."""
    named = {"llamacpp": ports.llamacpp, "sdapi": ports.sdapi, "ollama": ports.ollama, "unity": ports.unity}
    chosen = {name: (USUAL[name] if standalone else 0) if port == "auto" else port for name, port in named.items()}
    return {name: port for name, port in chosen.items() if port}


class PortTaken(ConfigError):
    """Another program has the port."""


async def _open(runner: web.AppRunner, host: str, port: int, option: str) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        kind = PortTaken if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(
            f"cannot listen on {host}:{port}: {error.strerror}; another program may hold it: choose another with "
            f"--set {option}=…"
        ) from None
