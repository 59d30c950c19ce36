"""Targets: all that is fuzzed, by name."""

from collections.abc import Mapping

from tests.fuzz import broker, files, grammars, requests, texts
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    target.name: target for room in (texts, grammars, files, broker, requests) for target in room.TARGETS
}
