"""Harmony, of gpt-oss: messages on channels, each with a head that says whom it is for."""

import re
from collections.abc import Sequence

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, either, literal, until
from velesio.jobs import Trigger

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([A-Za-z0-9_.\-]+)")
_HEADS = ("<|start|>", "<|channel|>")
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_BODY = "<|message|>"


class Harmony(Format):
    """Reasoning is what stands on the channel `analysis`."""

    name = "harmony"
    thinks = ("<|channel|>analysis<|message|>", "<|end|>")
    marks = _HEADS
    openings = ("<|start|>assistant",)
    shown = (*_HEADS, "<|end|>", "<|constrain|>", _BODY)
    parallel = False

    def read(self, answer: Answer) -> Reading[None]:
        """Reads message after message."""
        while mark := (yield from answer.until((*_HEADS, *_ENDS), answer.content)):
            if mark in _ENDS:
                answer.skip(mark)
            elif not (yield from answer.attempt(self.call(answer, mark))):
                answer.skip(mark)
                answer.content(mark)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the head of a message, and the message unless it is content."""
        pieces = [mark]
        answer.skip(mark)
        if not (yield from answer.until((_BODY,), pieces.append)):
            return False
        head = "".join(pieces)
        channel, recipient = _CHANNEL.search(head), _RECIPIENT.search(head)
        if recipient and recipient[1] != "assistant":
            return (yield from self._call(answer, recipient[1]))
        answer.skip(_BODY)
        if channel is not None and channel[1] == "analysis":
            answer.commit()
            say = answer.verbatim if answer.keeps_reasoning else answer.reasoning
            yield from answer.until((*_ENDS, _HEADS[0]), say)
            if not answer.keeps_reasoning:
                answer.end_reasoning()
        return True

    def _call(self, answer: Answer, name: str) -> Reading[bool]:
        if name not in answer.functions:
            return False
        answer.skip(_BODY)
        yield from answer.blank()
        if not (yield from answer.next_is("{")):
            return False
        answer.open_call(name)
        yield from answer.json(answer.arguments)
        return True

    def thinks_after(self, opening: str) -> bool:
        """The prompt ends with who speaks; the channel comes next."""
        del opening
        return True

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """A head that names a function."""
        return (Trigger("pattern", r"((?:<\|start\|>assistant|<\|channel\|>commentary) to=functions\.)"),)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """The head that names a function, and its arguments."""
        del parallel  # each call ends the answer
        return either(self._written(notation, function) for function in functions)

    def _written(self, notation: Notation, function: Function) -> str:
        heads = (
            literal(f"<|channel|>commentary to=functions.{function.name} "),
            literal(f"<|start|>assistant to=functions.{function.name}<|channel|>commentary "),
        )
        form = f"({literal('<|constrain|>')})? {literal('json' + _BODY)}"
        return f"{either(heads)} {form} {notation.arguments(function)}"

    def thought(self, notation: Notation, *, begun: bool) -> str:
        """Analysis, after which the next message begins."""
        begin, end = self.thinks
        rest = f"{until(end, notation)} ({literal('<|start|>assistant')})?"
        return rest if begun else f"({literal(begin)} {rest})?"

    def before_content(self, prefix: str) -> str:
        """The head of the final message."""
        del prefix
        return literal(f"<|channel|>final{_BODY}") + f" {BLANK}"
