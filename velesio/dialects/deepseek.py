"""DeepSeek: each call between marks of its own, the name before the arguments."""

from collections.abc import Sequence
from typing import ClassVar

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, either, literal, several

_FENCE = "```json\n"


class DeepSeek(Format):
    """DeepSeek-V3.1: `name<sep>{…}` between marks."""

    name = "deepseek-v3.1"
    marks: ClassVar[tuple[str, ...]] = (
        "<｜tool▁calls▁begin｜>",  # noqa: RUF001 - DeepSeek's own letters
        "<｜tool_calls_begin｜>",  # noqa: RUF001 - as its models sometimes write it
        "<｜tool calls begin｜>",  # noqa: RUF001
        "<｜tool▁calls｜>",  # noqa: RUF001
    )
    end: ClassVar[str] = "<｜tool▁calls▁end｜>"  # noqa: RUF001 - DeepSeek's own letters
    begin_call: ClassVar[str] = "<｜tool▁call▁begin｜>"  # noqa: RUF001 - DeepSeek's own letters
    separator: ClassVar[str] = "<｜tool▁sep｜>"  # noqa: RUF001 - DeepSeek's own letters
    end_call: ClassVar[str] = "<｜tool▁call▁end｜>"  # noqa: RUF001 - DeepSeek's own letters
    shown: ClassVar[tuple[str, ...]] = (*marks, end, begin_call, separator, end_call)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads all calls up to the mark that ends them."""
        answer.skip(mark)
        found = False
        while True:
            yield from answer.blank()
            if found and (yield from answer.accept(self.end)):
                return True
            if not (yield from self._one(answer)):
                return found
            found = True

    def _one(self, answer: Answer) -> Reading[bool]:
        if not (yield from answer.accept(self.begin_call)):
            return False
        name, given = yield from self.head(answer)
        if not name:
            return False
        answer.open_call(name, given)
        if (yield from answer.json(answer.arguments)) is not None:
            yield from self.tail(answer)
        return True

    def head(self, answer: Answer) -> Reading[tuple[str, str]]:
        """The name of a function and perhaps the id of the call, if arguments follow; two forms are known."""
        name = yield from answer.word()
        if not (yield from answer.accept(self.separator)):
            return "", ""
        if name == "function":
            name = yield from answer.word()
            yield from answer.blank()
            yield from answer.accept(_FENCE)
        yield from answer.blank()
        is_call = name in answer.functions and (yield from answer.next_is("{"))
        return (name if is_call else ""), ""

    def tail(self, answer: Answer) -> Reading[None]:
        """What stands behind the arguments."""
        yield from answer.blank()
        yield from answer.accept("```")
        yield from answer.blank()
        yield from answer.accept(self.end_call)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """All calls between the marks."""
        written = either(self.written(notation, function) for function in functions)
        items = several(notation.define("tool-call", written), BLANK, parallel=parallel)
        return f"{literal(self.marks[0])} {BLANK} {items} {BLANK} {literal(self.end)}"

    def written(self, notation: Notation, function: Function) -> str:
        """One call."""
        head = literal(self.begin_call + function.name + self.separator)
        return f"{head} {notation.arguments(function)} {literal(self.end_call)}"


class DeepSeekR1(DeepSeek):
    """DeepSeek-R1 and V3: the arguments are a block of code."""

    name = "deepseek-r1"

    def written(self, notation: Notation, function: Function) -> str:
        """One call."""
        head = literal(f"{self.begin_call}function{self.separator}{function.name}\n{_FENCE}")
        tail = literal(f"\n```{self.end_call}")
        return f"{head} {notation.arguments(function)} {tail}"
