"""`velesio queue`: depths, totals, pauses."""

import argparse

from velesio.cli.command import Words, command, noun, operate
from velesio.config import Config


def add(words: Words) -> None:
    """Adds the commands."""
    verbs = noun(words, "queue", "the queue, that of each model and all together")
    verb = command(verbs, "show", _show, "show depths by model and priority, totals, what is paused")
    verb.add_argument("--json", action="store_true", help="as a JSON document")
    verb = command(verbs, "pause", _pause, "have workers take no more jobs from a model's queue")
    verb.add_argument("model", nargs="*", help="without one: from any queue")
    verb = command(verbs, "resume", _resume, "go on")
    verb.add_argument("model", nargs="*", help="without one: end the pause of all queues")


def _show(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.show_queues(json=options.json))


def _pause(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.pause_queues(options.model, on=True))


def _resume(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.pause_queues(options.model, on=False))
