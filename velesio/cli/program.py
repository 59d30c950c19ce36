"""`velesio` itself: serving, what looks at the installation, and the words of all other commands."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from velesio import __version__, config
from velesio.cli import access, jobs, models, queue, workers
from velesio.cli.command import Run, command, common, noun
from velesio.cli.voice import aloud
from velesio.config import Config
from velesio.errors import BrokerUnavailable, ConfigError, VelesioError

if TYPE_CHECKING:
    from velesio import service

EXIT_CONFIG = 2
EXIT_UNAVAILABLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `velesio`; answers the exit status: 0 done, 1 failed, 2 bad arguments or configuration, 3 no broker."""
    options = parser().parse_args(arguments)
    try:
        settings = config.load(options.config, settings=options.set or ())
        run: Run = options.run
        return run(settings, options)
    except ConfigError as error:
        return _complain(error, EXIT_CONFIG)
    except BrokerUnavailable as error:
        return _complain(error, EXIT_UNAVAILABLE)
    except VelesioError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130


def _complain(error: VelesioError, status: int) -> int:
    print(f"velesio: {error.message}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    return status


def parser() -> argparse.ArgumentParser:
    """The words of the command line; what they run is `run` of the result."""
    top = argparse.ArgumentParser(
        prog="velesio",
        description="A self-hosted AI server for text and images.",
        epilog="Without a command it serves. Every option of config.toml can be given by --set section.key=value.",
    )
    top.add_argument("--version", action="version", version=f"velesio {__version__}")
    common(top, default=None)
    top.add_argument(
        "--role",
        choices=("all", "gateway", "worker"),
        help="all: everything on this machine (default); gateway: HTTP only (default where REMOTE is true); "
        "worker: inference only",
    )
    top.set_defaults(run=_serve)
    words = top.add_subparsers(title="commands", metavar="")
    command(words, "check-config", _check_config, "say whether the configuration can be used")
    command(words, "doctor", _doctor, "say what is installed, what is missing, which devices there are")
    models.add(words)
    webhooks = noun(words, "webhooks", "what is told to other servers")
    verb = command(webhooks, "secret", _webhooks_secret, "show the secret with which a tenant checks what it is sent")
    verb.add_argument("tenant", nargs="?", default="default")
    jobs.add(words)
    workers.add(words)
    access.add(words)
    queue.add(words)
    return top


def _serve(settings: Config, options: argparse.Namespace) -> int:
    import uvloop  # noqa: PLC0415 - the other commands need no event loop and no broker

    from velesio import logs, pulls, service  # noqa: PLC0415

    logs.configure(settings.log)
    role = options.role or usual_role(os.environ)
    if role != "gateway":
        pulls.at_start(settings)
    return uvloop.run(service.serve(settings, role))


def usual_role(environment: Mapping[str, str]) -> "service.Role":
    """The role of a server that is not told one: where the earlier server's REMOTE is true, workers are elsewhere."""
    return "gateway" if environment.get("REMOTE", "").strip().lower() in {"1", "true", "yes", "on"} else "all"


def _check_config(settings: Config, _: argparse.Namespace) -> int:
    from velesio import catalogue  # noqa: PLC0415

    catalogue.check_exposure(settings)
    cards = [card for backend in catalogue.backends(settings) for card in backend.models()]
    aloud(f"The configuration is fine; {len(cards)} model(s): {', '.join(card.name for card in cards) or 'none'}.")
    return 0


def _doctor(settings: Config, _: argparse.Namespace) -> int:
    from velesio.cli import doctor  # noqa: PLC0415

    findings = doctor.examine(settings)
    for finding in findings:
        aloud(f"{finding.mark} {finding.subject}: {finding.text}")
    return 1 if any(finding.broken for finding in findings) else 0


def _webhooks_secret(settings: Config, options: argparse.Namespace) -> int:
    from velesio.http.background.webhooks import secret_of  # noqa: PLC0415

    if not settings.webhooks.secret:
        raise ConfigError("webhooks.secret is not set: nothing is sent, and nothing signed")
    aloud(secret_of(settings.webhooks.secret, options.tenant))
    return 0
