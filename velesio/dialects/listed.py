"""Models that write all calls as one JSON list behind a mark: Mistral, Command-R, Granite, Phi, Nemotron."""

from collections.abc import Sequence
from typing import ClassVar

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.json_call import KEYS, Keys, read_calls, write_call, write_list
from velesio.dialects.notation import BLANK, Notation, literal


class Listed(Format):
    """The mark, the list, perhaps another mark."""

    end: ClassVar[str] = ""
    keys: ClassVar[Keys] = KEYS

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the list."""
        answer.skip(mark)
        yield from answer.blank()
        found = yield from read_calls(answer, self.keys)
        if found and self.end:
            yield from answer.blank()
            yield from answer.accept(self.end)
        return found

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """The list behind its mark."""
        written = [self.written(notation, function) for function in functions]
        parts = [literal(self.marks[0]), BLANK, write_list(written, parallel=parallel)]
        return " ".join([*parts, BLANK, literal(self.end)] if self.end else parts)

    def written(self, notation: Notation, function: Function) -> str:
        """One call."""
        return write_call(notation, function, self.keys)


class Granite(Listed):
    """Granite 3."""

    name = "granite"
    marks = ("<|tool_call|>",)
    shown = marks


class Phi(Listed):
    """Phi-4-mini."""

    name = "phi-4"
    marks = ("<|tool_call|>",)
    end = "<|/tool_call|>"
    shown = (*marks, end)


class Nemotron(Listed):
    """Nemotron Nano 2."""

    name = "nemotron-2"
    marks = ("<TOOLCALL>",)
    end = "</TOOLCALL>"
    shown = (*marks, end)


class CommandR(Listed):
    """Command-R and Command-R+: the list is a block of code after `Action:`."""

    name = "command-r"
    marks = ("Action:\n```json\n", "Action: ```json\n")
    end = "```"
    keys = Keys(("tool_name",), ("parameters",), ("tool_call_id",))


class CommandR7B(Listed):
    """Command-R7B and Command-A; the answer itself has marks around it as well."""

    name = "command-r7b"
    thinks = ("<|START_THINKING|>", "<|END_THINKING|>")
    marks = ("<|START_ACTION|>",)
    end = "<|END_ACTION|>"
    frames = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
    openings = ("<|START_RESPONSE|>", "<|START_TEXT|>")
    shown = (*thinks, *marks, end, *frames)
    keys = Keys(("tool_name",), ("parameters",), ("tool_call_id",))

    def written(self, notation: Notation, function: Function) -> str:
        """One call; these models number theirs."""
        quote = literal('"')
        number = f"{quote} [0-9]{{1,3}} {quote}"
        return write_call(notation, function, self.keys, {"tool_call_id": number})

    def before_content(self, prefix: str) -> str:
        """The mark, unless the prompt ends with it."""
        return "" if prefix in self.openings else f"({literal(self.frames[0])} {BLANK})?"
