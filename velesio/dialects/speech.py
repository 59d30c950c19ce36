"""What a model says, sorted as its text comes: what is meant to be read, reasoning, and calls of functions."""

from collections.abc import Iterable, Mapping
from typing import Any

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.function import functions_of
from velesio.dialects.registry import find
from velesio.dialects.said import Said
from velesio.jobs import Dialect


class Speech:
    """One answer. In whatever pieces its text comes, the same is said."""

    def __init__(
        self,
        dialect: Dialect = Dialect(),  # noqa: B008 - frozen
        tools: Iterable[Mapping[str, Any]] = (),
        *,
        seed: str = "",
        keeps_reasoning: bool = False,
    ) -> None:
        """Only functions of `tools` are called; what looks like a call of another, or is none, is content. The ids
        that are made for calls follow from `seed`, the job's id, so that who reads an answer again finds the same;
        "" draws them. With `keeps_reasoning` reasoning is content, in its tags."""
        form = find(dialect.name)
        self._answer = Answer(functions_of(tools), seed, keeps_reasoning=keeps_reasoning)
        self._reading: Reading[None] | None = None
        if form is not None:
            self._answer.id_length = form.id_length
            self._reading = form.read(self._answer)
            self._read(dialect.prefix)
            self._answer.take()  # the prompt's own words

    def feed(self, text: str) -> list[Said]:
        """What more text says."""
        if self._reading is None:
            return [Said("content", text)] if text else []
        self._read(text)
        return self._answer.take()

    def end(self) -> list[Said]:
        """What was held back."""
        if self._reading is None:
            return []
        self._answer.stop()
        next(self._reading, None)
        self._reading = None
        self._answer.finish()
        return self._answer.take()

    def _read(self, text: str) -> None:
        if text and self._reading is not None:
            self._answer.push(text)
            next(self._reading, None)
