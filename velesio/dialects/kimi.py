"""Kimi-K2: as DeepSeek, but the name is part of the id, `functions.name:0`."""

import re

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.deepseek import DeepSeek
from velesio.dialects.function import Function
from velesio.dialects.notation import Notation, literal

_ID = re.compile(r"\s*((?:functions\.)?(\S+?)(?::\d+)?)\s*")


class Kimi(DeepSeek):
    """Each call has its id before its arguments."""

    name = "kimi-k2"
    marks = ("<|tool_calls_section_begin|>",)
    end = "<|tool_calls_section_end|>"
    begin_call = "<|tool_call_begin|>"
    separator = "<|tool_call_argument_begin|>"
    end_call = "<|tool_call_end|>"
    shown = (*marks, end, begin_call, separator, end_call)

    def head(self, answer: Answer) -> Reading[tuple[str, str]]:
        """The id, and the name within it."""
        pieces: list[str] = []
        mark = yield from answer.until((self.separator,), pieces.append)
        answer.skip(mark)
        yield from answer.blank()
        match = _ID.fullmatch("".join(pieces))
        if match is None or match[2] not in answer.functions or not (yield from answer.next_is("{")):
            return "", ""
        return match[2], match[1]

    def written(self, notation: Notation, function: Function) -> str:
        """One call."""
        head = literal(f"{self.begin_call}functions.{function.name}:")
        return f"{head} [0-9]{{1,3}} {literal(self.separator)} {notation.arguments(function)} {literal(self.end_call)}"
