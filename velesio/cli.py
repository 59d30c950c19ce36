"""The command line; nothing else parses arguments."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from velesio import __version__, cli_access, config, table
from velesio.errors import BrokerUnavailable, ConfigError, VelesioError
from velesio.jobs import JobState, Priority

if TYPE_CHECKING:
    from velesio import service
    from velesio.backends.base import ModelCard
    from velesio.operate import Desk, Selection
    from velesio.states import ModelState

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
        help="all: everything on this machine (default); gateway: HTTP only (default where REMOTE is true); "
        "worker: inference only",
    )
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="commands", metavar="")
    _command(commands, "check-config", _check_config, "say whether the configuration can be used")
    _command(commands, "doctor", _doctor, "say what is installed, what is missing, which devices there are")
    _models(_noun(commands, "models", "the models"))
    webhooks = _noun(commands, "webhooks", "what is told to other servers")
    verb = _command(webhooks, "secret", _webhooks_secret, "show the secret with which a tenant checks what it is sent")
    verb.add_argument("tenant", nargs="?", default="default")
    _jobs(_noun(commands, "jobs", "the jobs in the queue and those that ended lately"))
    _workers(_noun(commands, "workers", "the workers that live"))
    cli_access.add(commands, _noun, _command)
    _queue(_noun(commands, "queue", "the queue, that of each model and all together"))
    return parser


def _models(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _command(verbs, "list", _models_list, "list those that would be served, and what workers have loaded")
    verb = _command(verbs, "pull", _models_pull, "fetch files of models into models_dir; those that are there stay")
    verb.add_argument(
        "source",
        nargs="*",
        help="https://…, or hub:owner/name/file; #sha256=… behind it is checked (default: what config.toml names)",
    )
    verb.add_argument("--to", metavar="FOLDER", default="", help="text, checkpoints, loras … (default: by its name)")
    verb = _command(verbs, "rm", _models_rm, "delete files of models_dir")
    verb.add_argument("file", nargs="+", help="text/a.gguf, or only a.gguf")
    verb = _command(verbs, "load", _models_load, "have workers load models, and wait for it")
    verb.add_argument("model", nargs="+")
    verb.add_argument(
        "--keep-alive", type=float, metavar="SECONDS", help="until it is unloaded after its last job; -1: never"
    )
    for name, run, text in (
        ("unload", _models_unload, "have workers unload models when their jobs have ended"),
        ("pin", _models_pin, "have models loaded and kept, whatever other models are wanted"),
        ("unpin", _models_unpin, "let pinned models be unloaded again"),
    ):
        _command(verbs, name, run, text).add_argument("model", nargs="+")


def _jobs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _command(verbs, "list", _jobs_list, "list jobs, of each state those that matter first")
    verb.add_argument("--state", choices=[state.name.lower() for state in JobState], help="of one state only")
    verb.add_argument("--limit", type=_count, default=50, metavar="N", help="of each state at most (default: 50)")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    verb = _command(verbs, "show", _jobs_show, "tell what is known of a job: places, times, why it failed and where")
    verb.add_argument("id")
    verb.add_argument("--params", action="store_true", help="also what it asks for: the prompt and its settings")
    verb.add_argument("--json", action="store_true", help="as a JSON document")
    verb = _command(verbs, "cancel", _jobs_cancel, "cancel jobs wherever they are")
    verb.add_argument("id", nargs="+")
    verb = _command(verbs, "requeue", _jobs_requeue, "queue failed jobs again, with all their attempts")
    verb.add_argument("id", nargs="*", help="without one: all that have failed, or those chosen by the options")
    _choice(verb)
    verb = _command(verbs, "purge", _jobs_purge, "cancel jobs that have not ended, and forget those that have")
    states = [state.name.lower() for state in JobState]
    verb.add_argument("--state", action="append", choices=states, help="may be repeated (default: queued, scheduled)")
    _choice(verb)
    verb.add_argument("--dry-run", action="store_true", help="only list them")


def _choice(verb: argparse.ArgumentParser) -> None:
    """Options that choose among jobs."""
    verb.add_argument("--model", default="", help="only those of this model")
    verb.add_argument("--tenant", default="", help="only those of this tenant")
    verb.add_argument(
        "--priority", choices=[each.name.lower() for each in Priority], help="only those of this priority"
    )
    verb.add_argument("--older-than", type=float, default=0.0, metavar="SECONDS", help="queued, or ended, so long ago")


def _queue(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _command(verbs, "show", _queue_show, "show depths by model and priority, totals, what is paused")
    verb.add_argument("--json", action="store_true", help="as a JSON document")
    verb = _command(verbs, "pause", _queue_pause, "have workers take no more jobs from a model's queue")
    verb.add_argument("model", nargs="*", help="without one: from any queue")
    verb = _command(verbs, "resume", _queue_resume, "go on")
    verb.add_argument("model", nargs="*", help="without one: end the pause of all queues")


def _workers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _command(verbs, "list", _workers_list, "list them, with their models and what they compute")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    verb = _command(verbs, "drain", _workers_drain, "have workers finish what they hold, give back the rest and leave")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("worker", nargs="*", default=[], help="names or ids, as `workers list` shows them")
    which.add_argument("--all", action="store_true", help="every worker")
    verb.add_argument("--wait", action="store_true", help="return when they have left")

    for name, run, text in (
        ("quiet", _workers_quiet, "have workers take no new jobs; they stay"),
        ("resume", _workers_resume, "have quiet workers take jobs again"),
    ):
        _command(verbs, name, run, text).add_argument("worker", nargs="+", help="names or ids")


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


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _noun(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    return parser.add_subparsers(title="commands", metavar="", required=True)


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
    from velesio import logs, pulls, service  # noqa: PLC0415 - the other commands need no event loop and no broker

    logs.configure(settings.log)
    role = options.role or usual_role(os.environ)
    if role != "gateway":
        pulls.at_start(settings)
    return asyncio.run(service.serve(settings, role))


def usual_role(environment: Mapping[str, str]) -> "service.Role":
    """The role of a server that is not told one: where the earlier server's REMOTE is true, workers are elsewhere."""
    return "gateway" if environment.get("REMOTE", "").strip().lower() in {"1", "true", "yes", "on"} else "all"


def _check_config(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import catalogue  # noqa: PLC0415

    catalogue.check_exposure(settings)
    cards = [card for backend in catalogue.backends(settings) for card in backend.models()]
    _say(f"The configuration is fine; {len(cards)} model(s): {', '.join(card.name for card in cards) or 'none'}.")
    return 0


def _models_list(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import catalogue, logs, operate  # noqa: PLC0415

    logs.configure(settings.log)
    served = asyncio.run(operate.served(settings))
    states = {card.name: state for card, state in served or ()}
    own = [card for backend in catalogue.backends(settings) for card in backend.models()]
    others = [card for card, _ in served or () if all(card.name != each.name for each in own)]
    rows: list[Sequence[str]] = [("NAME", "KIND", "BACKEND", "CONTEXT", "SLOTS", "MEMORY", "STATE", "ALIASES")]
    rows += [_model_row(card, states.get(card.name)) for card in (*own, *others)]
    for line in table.lines(rows):
        _say(line)
    return 0


def _model_row(card: "ModelCard", state: "ModelState | None") -> Sequence[str]:
    """`state` None: no worker tells."""
    part = f" {state.progress:.0%}" if state and state.state == "loading" else ""
    return (
        card.name,
        card.capability,
        card.backend,
        str(card.context or "-"),
        str(card.slots),
        f"{card.bytes / 2**20:.0f} MiB",
        state.state + part if state else "-",
        ", ".join(card.aliases) or "-",
    )


def _models_pull(settings: config.Config, options: argparse.Namespace) -> int:
    from velesio import pulls  # noqa: PLC0415

    if options.to and options.to not in pulls.FOLDERS:
        raise ConfigError(f"--to {options.to}: expected one of {', '.join(pulls.FOLDERS)}")
    files = [pulls.named(settings, text, options.to) for text in options.source] or pulls.wanted(settings)
    pulls.pull(settings, files, _say)
    return 0


def _models_rm(settings: config.Config, options: argparse.Namespace) -> int:
    from velesio import pulls  # noqa: PLC0415

    for name in options.file:
        _say(f"{pulls.remove(settings.server.models_dir, name)} is deleted")
    return 0


def _webhooks_secret(settings: config.Config, options: argparse.Namespace) -> int:
    from velesio.http.webhooks import secret_of  # noqa: PLC0415

    if not settings.webhooks.secret:
        raise ConfigError("webhooks.secret is not set: nothing is sent, and nothing signed")
    _say(secret_of(settings.webhooks.secret, options.tenant))
    return 0


def _models_load(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.load_models(options.model, options.keep_alive))


def _models_unload(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.unload_models(options.model))


def _models_pin(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.pin_models(options.model, on=True))


def _models_unpin(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.pin_models(options.model, on=False))


def _doctor(settings: config.Config, _: argparse.Namespace) -> int:
    from velesio import doctor  # noqa: PLC0415

    findings = doctor.examine(settings)
    for finding in findings:
        _say(f"{finding.mark} {finding.subject}: {finding.text}")
    return 1 if any(finding.broken for finding in findings) else 0


def _jobs_list(settings: config.Config, options: argparse.Namespace) -> int:
    state = JobState[options.state.upper()] if options.state else None
    return _operate(settings, lambda desk: desk.list_jobs(state, options.limit, json=options.json))


def _jobs_show(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.show_job(options.id, params=options.params, json=options.json))


def _jobs_cancel(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.cancel_jobs(options.id))


def _jobs_requeue(settings: config.Config, options: argparse.Namespace) -> int:
    if options.id:
        return _operate(settings, lambda desk: desk.requeue_jobs(options.id))
    return _operate(settings, lambda desk: desk.requeue_chosen(_chosen(options, ["failed"])))


def _jobs_purge(settings: config.Config, options: argparse.Namespace) -> int:
    chosen = _chosen(options, options.state or ["queued", "scheduled"])
    return _operate(settings, lambda desk: desk.purge_jobs(chosen, dry=options.dry_run))


def _chosen(options: argparse.Namespace, states: Sequence[str]) -> "Selection":
    from velesio.operate import Selection  # noqa: PLC0415

    return Selection(
        states=tuple(JobState[name.upper()] for name in dict.fromkeys(states)),
        model=options.model,
        tenant=options.tenant,
        priority=Priority[options.priority.upper()] if options.priority else None,
        older_than=options.older_than,
    )


def _queue_show(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.show_queues(json=options.json))


def _queue_pause(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.pause_queues(options.model, on=True))


def _queue_resume(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.pause_queues(options.model, on=False))


def _workers_list(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.list_workers(json=options.json))


def _workers_drain(settings: config.Config, options: argparse.Namespace) -> int:
    names = None if options.all else options.worker
    return _operate(settings, lambda desk: desk.drain_workers(names, wait=options.wait))


def _workers_quiet(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.rest_workers(options.worker, on=True))


def _workers_resume(settings: config.Config, options: argparse.Namespace) -> int:
    return _operate(settings, lambda desk: desk.rest_workers(options.worker, on=False))


def _operate(settings: config.Config, work: "Callable[[Desk], Awaitable[bool]]") -> int:
    """Has something done at the broker; 1 if a part of it could not be done."""
    from velesio import logs, operate  # noqa: PLC0415

    quiet = msgspec.structs.replace(settings.log, level="warning") if settings.log.level == "info" else settings.log
    logs.configure(quiet)  # the desk says what it does
    return 0 if asyncio.run(operate.at_desk(settings, _say, work)) else 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command line's own voice
