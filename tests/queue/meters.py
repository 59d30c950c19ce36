"""Limits as a few lines of Python: what `lua/limits.lua` must amount to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

STEPS = {"r": 2_000, "t": 2_000, "i": 3_600_000, "g": 3_600_000, "T": 86_400_000, "I": 86_400_000, "G": 86_400_000}
PARTS = {"r": 30, "t": 30, "i": 24, "g": 24, "T": 30, "I": 30, "G": 30}
GRACE = 10_000
Subjects = Sequence[tuple[str, Mapping[str, int]]]


@dataclass
class Meters:
    """What is charged, by meter and part of time, and which requests run. Times in ms."""

    amounts: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    running: dict[str, dict[str, int]] = field(default_factory=dict)

    def used(self, letter: str, subject: str, now: int) -> int:
        """What counts at this moment."""
        first = now // STEPS[letter] - PARTS[letter]
        return sum(amount for part, amount in self.amounts.get((letter, subject), {}).items() if part >= first)

    def wait(self, letter: str, subject: str, limit: int, amount: int, now: int) -> int:
        """Milliseconds until so much more is within the limit."""
        at = now
        while self.used(letter, subject, at) + amount > limit:
            at = (at // STEPS[letter] + 1) * STEPS[letter]
        return at - now

    def held(self, subject: str, now: int) -> int:
        """How many requests run."""
        return sum(ends > now for ends in self.running.get(subject, {}).values())

    def admit(self, subjects: Subjects, whole: Mapping[str, int], slot: str, ends: int, now: int) -> dict[str, int]:
        """Charges the request if every limit allows it; answers the waits of those that do not, by meter."""
        waits = {}
        for subject, limits in subjects:
            for letter, limit in limits.items():
                if letter == "c":
                    wait = 1000 if self.held(subject, now) >= limit else 0
                else:
                    wait = self.wait(letter, subject, limit, whole[letter], now) if whole.get(letter) else 0
                if wait:
                    waits[f"{letter} {subject}"] = wait
        if not waits:
            for subject, limits in subjects:
                for letter in limits:
                    if letter == "c":
                        self.running.setdefault(subject, {})[slot] = ends + GRACE
                    elif whole.get(letter):
                        self._add(letter, subject, whole[letter], now)
        return waits

    def settle(
        self, subjects: Subjects, own: Mapping[str, int], used: Mapping[str, int], slot: str, at: int, now: int
    ) -> None:
        """The request, charged with `own` at `at`, is over and has used this."""
        for subject, limits in subjects:
            for letter in limits:
                more = used.get(letter, 0) - own.get(letter, 0)
                if letter == "c":
                    self.running.get(subject, {}).pop(slot, None)
                elif more > 0:
                    self._add(letter, subject, more, now)
                elif more < 0:
                    parts, part = self.amounts.get((letter, subject), {}), at // STEPS[letter]
                    if part in parts:
                        parts[part] = max(0, parts[part] + more)

    def _add(self, letter: str, subject: str, amount: int, now: int) -> None:
        parts = self.amounts.setdefault((letter, subject), {})
        part = now // STEPS[letter]
        parts[part] = parts.get(part, 0) + amount
