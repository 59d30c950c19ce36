"""Functionary: `<function=name>{…}</function>` in v3.1, `>>>name` and the arguments in v3.2."""

from collections.abc import Sequence

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, either, literal, several
from velesio.dialects.python_call import INTERPRETERS, read_code
from velesio.jobs import Trigger

_EVERYBODY = "all"
_FOR_EVERYBODY = literal(f"{_EVERYBODY}\n")


class FunctionaryV31(Format):
    """Tags, or code after `<|python_tag|>`."""

    name = "functionary-v3.1"
    marks = ("<function=", "<|python_tag|>")
    shown = ("<|python_tag|>",)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the tags, or code."""
        answer.skip(mark)
        if mark != self.marks[0]:
            return (yield from read_code(answer))
        name = yield from answer.name()
        if not name or not (yield from answer.accept(">")):
            return False
        yield from answer.blank()
        if not (yield from answer.next_is("{")):
            return False
        answer.open_call(name)
        if (yield from answer.json(answer.arguments)) is not None:
            yield from answer.blank()
            yield from answer.accept("</function>")
        return True

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Code is free."""
        return super().triggers[:1]

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Arguments in tags that name the function."""
        written = [
            f"{literal(f'<function={each.name}>')} {notation.arguments(each)} {literal('</function>')}"
            for each in functions
        ]
        return several(notation.define("tool-call", either(written)), BLANK, parallel=parallel)


class FunctionaryV32(Format):
    """Each part of an answer begins with whom it is for: `all` or a function. The first `>>>` is in the prompt."""

    name = "functionary-v3.2"
    marks = (">>>",)
    openings = marks

    def talk(self, answer: Answer) -> Reading[None]:
        """Content has its mark even if nothing may be called."""
        while mark := (yield from answer.until(self.marks, answer.content)):
            if not (yield from answer.attempt(self.call(answer, mark))):
                answer.skip(mark)
                answer.content(mark)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads for whom the next part is, and arguments if it is a function."""
        answer.skip(mark)
        name = yield from answer.word()
        if not (yield from answer.accept("\n")):
            return False
        if name == _EVERYBODY:
            return True
        if name not in answer.functions:
            return False
        yield from answer.blank()
        if (yield from answer.next_is("{")):
            answer.open_call(name)
            yield from answer.json(answer.arguments)
            return True
        return name in INTERPRETERS and (yield from read_code(answer, *self.marks))

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """The name of whom it is for, at the begin or behind the mark."""
        return (Trigger("pattern", r"^([A-Za-z0-9_.\-]+\n)"), Trigger("pattern", r">>>([A-Za-z0-9_.\-]+\n)"))

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Names with their arguments, told apart by the mark."""
        written = [literal(f"{each.name}\n") + " " + notation.arguments(each) for each in functions]
        one = notation.define("tool-call", either(written))
        return several(one, f"{BLANK} {literal(self.marks[0])}", parallel=parallel)

    def before_calls(self, prefix: str) -> str:
        """The mark, unless the prompt ends with it."""
        return "" if prefix in self.openings else literal(self.marks[0])

    def before_content(self, prefix: str) -> str:
        """That it is for everybody."""
        return f"{self.before_calls(prefix)} {_FOR_EVERYBODY}"
