"""`velesio workers`: to see them, have them rest, go on or leave."""

import argparse

from velesio.cli.command import Words, command, noun, operate
from velesio.config import Config


def add(words: Words) -> None:
    """Adds the commands."""
    verbs = noun(words, "workers", "the workers that live")
    verb = command(verbs, "list", _list, "list them, with their models and what they compute")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    verb = command(verbs, "drain", _drain, "have workers finish what they hold, give back the rest and leave")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("worker", nargs="*", default=[], help="names or ids, as `workers list` shows them")
    which.add_argument("--all", action="store_true", help="every worker")
    verb.add_argument("--wait", action="store_true", help="return when they have left")

    for name, run, text in (
        ("quiet", _quiet, "have workers take no new jobs; they stay"),
        ("resume", _resume, "have quiet workers take jobs again"),
    ):
        command(verbs, name, run, text).add_argument("worker", nargs="+", help="names or ids")


def _list(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.list_workers(json=options.json))


def _drain(settings: Config, options: argparse.Namespace) -> int:
    names = None if options.all else options.worker
    return operate(settings, lambda desk: desk.drain_workers(names, wait=options.wait))


def _quiet(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.rest_workers(options.worker, on=True))


def _resume(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.rest_workers(options.worker, on=False))
