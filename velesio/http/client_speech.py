"""What a model says, sorted: what is meant to be read, reasoning, and calls of tools."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from velesio.jobs import Dialect


class Said(NamedTuple):
    """A piece of an answer."""

    kind: Literal["content", "reasoning", "call"]
    text: str = ""
    """Of a call: the next piece of the JSON of its arguments."""
    call: int = -1
    """Which call of the answer, from 0."""
    id: str = ""
    name: str = ""
    """Of the function; with the first piece of a call."""


class Speech:
    """One answer, as its text comes."""

    def __init__(self, dialect: Dialect = Dialect(), tools: Sequence[dict[str, Any]] = ()) -> None:  # noqa: B008 - frozen
        self._dialect = dialect
        self._tools = tools

    def feed(self, text: str) -> list[Said]:
        """What more text says."""
        return [Said("content", text)] if text else []

    def end(self) -> list[Said]:
        """What was held back."""
        return []
