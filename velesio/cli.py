"""The command line; nothing else parses arguments."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from velesio import __version__, config
from velesio.errors import BrokerUnavailable, ConfigError, VelesioError

EXIT_CONFIG = 2
EXIT_UNAVAILABLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `velesio`; answers the exit status: 0 done, 1 failed, 2 bad arguments or configuration, 3 no broker."""
    options = _parser().parse_args(arguments)
    try:
        settings = config.load(options.config, settings=options.set or ())
        command: Callable[[config.Config, argparse.Namespace], int] = options.run
        return command(settings, options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="velesio",
        description="A self-hosted AI server for text and images.",
        epilog="Without a command it serves. Every option of config.toml can be given by --set section.key=value.",
    )
    parser.add_argument("--version", action="version", version=f"velesio {__version__}")
    _common(parser, default=None)
    parser.add_argument(
        "--role",
        choices=("all", "gateway", "worker"),
        default="all",
        help="all: everything on this machine (default); gateway: HTTP only; worker: inference only",
    )
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="commands", metavar="")
    _command(commands, "check-config", _check_config, "say whether the configuration can be used")
    _command(commands, "doctor", _doctor, "say what is installed, what is missing, which devices there are")
    models = commands.add_parser("models", help="the models that would be served")
    verbs = models.add_subparsers(title="commands", metavar="", required=True)
    _command(verbs, "list", _models_list, "list them")
    return parser


def _common(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(os.environ["VELESIO_CONFIG"]) if default is None and "VELESIO_CONFIG" in os.environ else default,
        help="configuration file (default: config.toml here, if there is one)",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="SECTION.KEY=VALUE",
        default=default,
        help="set one option; may be repeated",
    )


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[config.Config, argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    _common(parser, default=argparse.SUPPRESS)  # so that the options may stand before or after the command
    parser.set_defaults(run=run)
    return parser


def _serve(settings: config.Config, options: argparse.Namespace) -> int:
    from velesio import logs, service  # noqa: PLC0415 - the other commands need no event loop and no broker

    logs.configure(settings.log)
    return asyncio.run(service.serve(settings, options.role))


def _check_config(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import catalogue  # noqa: PLC0415

    catalogue.check_exposure(settings)
    cards = [card for backend in catalogue.backends(settings) for card in backend.models()]
    _say(f"The configuration is fine; {len(cards)} model(s): {', '.join(card.name for card in cards) or 'none'}.")
    return 0


def _models_list(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import catalogue  # noqa: PLC0415

    rows = [("NAME", "KIND", "BACKEND", "CONTEXT", "SLOTS", "MEMORY", "ALIASES")]
    for backend in catalogue.backends(settings):
        rows += [
            (
                card.name,
                card.capability,
                card.backend,
                str(card.context or "-"),
                str(card.slots),
                f"{card.bytes / 2**20:.0f} MiB",
                ", ".join(card.aliases) or "-",
            )
            for card in backend.models()
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _doctor(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import doctor  # noqa: PLC0415

    findings = doctor.examine(settings)
    for finding in findings:
        _say(f"{finding.mark} {finding.subject}: {finding.text}")
    return 1 if any(finding.broken for finding in findings) else 0


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the command line's own voice
