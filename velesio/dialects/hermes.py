"""Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from collections.abc import Sequence

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.json_call import read_call, write_call
from velesio.dialects.notation import BLANK, Notation, either, literal, several


class Hermes(Format):
    """One object in tags for each call."""

    name = "hermes"
    marks = ("<tool_call>",)
    shown = ("<tool_call>", "</tool_call>")

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the tags and the object."""
        answer.skip(mark)
        yield from answer.blank()
        found = yield from read_call(answer)
        if found:
            yield from answer.blank()
            yield from answer.accept("</tool_call>")
        return found

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """An object in tags for each call."""
        objects = either(write_call(notation, function) for function in functions)
        one = f"{literal('<tool_call>')} {BLANK} {objects} {BLANK} {literal('</tool_call>')}"
        return several(notation.define("tool-call", one), BLANK, parallel=parallel)
