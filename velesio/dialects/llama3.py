"""Llama 3: the answer is `{"name": …, "parameters": {…}}`, or code after `<|python_tag|>`."""

from collections.abc import Sequence

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.json_call import Keys, read_call, write_call
from velesio.dialects.notation import BLANK, Notation, either, literal, several
from velesio.dialects.python_call import read_python_call
from velesio.jobs import Trigger

_KEYS = Keys(name=("name", "function"), arguments=("parameters", "arguments"))


class Llama3(Format):
    """Calls stand at the begin only; several are told apart by semicolons."""

    name = "llama3"
    marks = ("<|python_tag|>",)
    shown = ("<|python_tag|>",)
    parallel = False

    def talk(self, answer: Answer) -> Reading[None]:
        """An object at the begin may be a call."""
        if answer.functions and (yield from answer.attempt(_objects(answer))):
            yield from answer.accept(";")
        yield from super().talk(answer)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads what stands behind the mark: objects, or Python."""
        answer.skip(mark)
        yield from answer.blank()
        if (yield from answer.next_is("{")):
            return (yield from _objects(answer))
        return (yield from read_python_call(answer))

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Only an answer that begins like a call is one."""
        return (Trigger("pattern", r'^\s*(\{)\s*"(?:name|type|function)"'),)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Objects with semicolons between them."""
        one = either(write_call(notation, function, _KEYS) for function in functions)
        return several(notation.define("tool-call", one), f"{BLANK} {literal(';')} {BLANK}", parallel=parallel)


def _objects(answer: Answer) -> Reading[bool]:
    """Calls with semicolons or blanks between them."""
    found = False
    while True:
        yield from answer.blank()
        if not (yield from answer.next_is("{")) or not (yield from read_call(answer, _KEYS)):
            return found
        found = True
        yield from answer.blank()
        if not (yield from answer.accept(";")):
            return True
