"""Prefixes: hashes of ever longer beginnings of a prompt, by which a job finds a worker that has them cached.

A worker remembers the beginnings of the jobs it had; `take` prefers, among the first few candidates, the job with the
longest of them. They are hints: a wrong one costs a prefill, nothing else.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from velesio.jobs import Chat, Completion, Job, Prompt

_BLOCK = 256
"""Characters or tokens in one step of a prompt; of a conversation, each message is one."""
_STEPS = 32
_REMEMBERED = 128

_encode = msgspec.msgpack.Encoder().encode


def fingerprints(job: Job) -> tuple[str, ...]:
    """One hash for each beginning, the shortest first; none for prompts too short to matter and for pictures."""
    found, digest = [], hashlib.blake2b(job.model.encode(), digest_size=6)
    for piece in _pieces(job)[:_STEPS]:
        digest.update(piece)
        found.append(digest.copy().hexdigest())
    return tuple(found)


def _pieces(job: Job) -> list[bytes]:
    if isinstance(job.params, Chat):
        return [_encode(message) for message in job.params.messages]
    if isinstance(job.params, Completion):
        return _blocks(job.params.prompt)
    return []


def _blocks(prompt: Prompt) -> list[bytes]:
    """Whole blocks only: the last one of a prompt seldom begins another."""
    whole = min(len(prompt) // _BLOCK, _STEPS)
    return [_encode(prompt[number * _BLOCK : (number + 1) * _BLOCK]) for number in range(whole)]


class Remembered:
    """The beginnings that a worker had lately, the oldest forgotten first."""

    def __init__(self) -> None:
        self._hashes: OrderedDict[str, None] = OrderedDict()

    def add(self, hashes: Iterable[str]) -> None:
        """Note that these are cached now."""
        for name in hashes:
            self._hashes[name] = None
            self._hashes.move_to_end(name)
        while len(self._hashes) > _REMEMBERED:
            self._hashes.popitem(last=False)

    def all(self) -> list[str]:
        """What is remembered."""
        return list(self._hashes)
