"""`velesio jobs`: to see them, cancel them, queue them again, and purge the queue of them."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from velesio.cli.command import Words, command, noun, operate
from velesio.config import Config
from velesio.jobs import JobState, Priority

if TYPE_CHECKING:
    from velesio.queue.selection import Selection


def add(words: Words) -> None:
    """Adds the commands."""
    verbs = noun(words, "jobs", "the jobs in the queue and those that ended lately")
    verb = command(verbs, "list", _list, "list jobs, of each state those that matter first")
    verb.add_argument("--state", choices=[state.name.lower() for state in JobState], help="of one state only")
    verb.add_argument("--limit", type=_count, default=50, metavar="N", help="of each state at most (default: 50)")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    verb = command(verbs, "show", _show, "tell what is known of a job: places, times, why it failed and where")
    verb.add_argument("id")
    verb.add_argument("--params", action="store_true", help="also what it asks for: the prompt and its settings")
    verb.add_argument("--json", action="store_true", help="as a JSON document")
    verb = command(verbs, "cancel", _cancel, "cancel jobs wherever they are")
    verb.add_argument("id", nargs="+")
    verb = command(verbs, "requeue", _requeue, "queue failed jobs again, with all their attempts")
    verb.add_argument("id", nargs="*", help="without one: all that have failed, or those chosen by the options")
    _choice(verb)
    verb = command(verbs, "purge", _purge, "cancel jobs that have not ended, and forget those that have")
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


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _list(settings: Config, options: argparse.Namespace) -> int:
    state = JobState[options.state.upper()] if options.state else None
    return operate(settings, lambda desk: desk.list_jobs(state, options.limit, json=options.json))


def _show(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.show_job(options.id, params=options.params, json=options.json))


def _cancel(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.cancel_jobs(options.id))


def _requeue(settings: Config, options: argparse.Namespace) -> int:
    if options.id:
        return operate(settings, lambda desk: desk.requeue_jobs(options.id))
    return operate(settings, lambda desk: desk.requeue_chosen(_chosen(options, ["failed"])))


def _purge(settings: Config, options: argparse.Namespace) -> int:
    chosen = _chosen(options, options.state or ["queued", "scheduled"])
    return operate(settings, lambda desk: desk.purge_jobs(chosen, dry=options.dry_run))


def _chosen(options: argparse.Namespace, states: Sequence[str]) -> "Selection":
    from velesio.queue.selection import Selection  # noqa: PLC0415 - reading the arguments needs no broker

    return Selection(
        states=tuple(JobState[name.upper()] for name in dict.fromkeys(states)),
        model=options.model,
        tenant=options.tenant,
        priority=Priority[options.priority.upper()] if options.priority else None,
        older_than=options.older_than,
    )
