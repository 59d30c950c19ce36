"""Turns: which group of calls is answered next. Pure.

Each group has a clock that runs while it is served, slower the more jobs wait in it; the group whose clock is furthest
behind is next. So unlike groups share the time as their jobs would, and none waits for more than its share. A group
that needs another setting of the networks gets its turn only when it is `turn` seconds behind: changing takes time.
"""

from collections.abc import Mapping

from velesio.backends.diffusion.calls import Key


class Turns:
    """The clocks of the groups that wait."""

    def __init__(self, turn: float) -> None:
        self._turn = turn
        self._clocks: dict[Key, float] = {}
        self._last: Key | None = None

    def choose(self, waiting: Mapping[Key, int]) -> Key:
        """The next of the groups, each with the number of its jobs; at least one waits."""
        words = next((key for key in waiting if key.kind == "words"), None)
        if words is not None:  # short, once for each job, and without them it can join nobody
            return words
        self._clocks = self._present(waiting)
        behind = min(waiting, key=lambda key: self._clocks[key])
        near = [key for key in waiting if self._last is not None and key.setting == self._last.setting]
        if near and behind.setting != near[0].setting:
            own = min(near, key=lambda key: self._clocks[key])
            if self._clocks[own] - self._clocks[behind] < self._turn:
                behind = own
        self._last = behind
        return behind

    def spent(self, key: Key, seconds: float, jobs: int) -> None:
        """A group was served."""
        if key in self._clocks:
            self._clocks[key] += seconds / max(jobs, 1)

    def _present(self, waiting: Mapping[Key, int]) -> dict[Key, float]:
        """The clocks of those that wait; who comes anew begins where the furthest behind is."""
        known = [self._clocks[key] for key in waiting if key in self._clocks]
        begin = min(known) if known else 0.0
        return {key: self._clocks.get(key, begin) for key in waiting}
