"""Mistral: `[TOOL_CALLS]` and a list, or before each call, with its name and `[ARGS]`."""

from collections.abc import Sequence

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.function import Function
from velesio.dialects.json_call import read_calls
from velesio.dialects.listed import Listed
from velesio.dialects.notation import Notation, either, literal, several


class Mistral(Listed):
    """Up to 2024: a list of objects."""

    name = "mistral"
    thinks = ("[THINK]", "[/THINK]")
    marks = ("[TOOL_CALLS]",)
    shown = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", *thinks)
    id_length = 9

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads either form: what models write and what their files' templates say may differ."""
        answer.skip(mark)
        yield from answer.blank()
        if (yield from answer.next_is("[")) or (yield from answer.next_is("{")):
            return (yield from read_calls(answer))
        return (yield from _named(answer))


class MistralArgs(Mistral):
    """Since 2025: `[TOOL_CALLS]name[ARGS]{…}`."""

    name = "mistral-args"

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Each call behind a mark of its own."""
        written = [f"{literal(each.name + '[ARGS]')} {notation.arguments(each)}" for each in functions]
        one = notation.define("tool-call", f"{literal(self.marks[0])} {either(written)}")
        return several(one, "", parallel=parallel)


def _named(answer: Answer) -> Reading[bool]:
    name = yield from answer.name()
    if not name:
        return False
    given = ""
    if (yield from answer.accept("[CALL_ID]")):
        given = yield from answer.word()
    yield from answer.accept("[ARGS]")
    yield from answer.blank()
    if not (yield from answer.next_is("{")):
        return False
    answer.open_call(name, given)
    yield from answer.json(answer.arguments)
    return True
