"""A format: how a family of models writes reasoning and calls into the text of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, literal, until
from velesio.jobs import Trigger


class Format:
    """What all formats have in common; each says what it does otherwise."""

    name: ClassVar[str]
    thinks: ClassVar[tuple[str, str]] = ("<think>", "</think>")
    """What stands around the reasoning, with which an answer may begin."""
    marks: ClassVar[tuple[str, ...]] = ()
    """With each of these a call may begin, anywhere in the content. None is the begin of another."""
    frames: ClassVar[tuple[str, ...]] = ()
    """Marks that only stand around content."""
    openings: ClassVar[tuple[str, ...]] = ()
    """With these a prompt may end though they belong to the answer, beside the begin of the reasoning."""
    shown: ClassVar[tuple[str, ...]] = ()
    """Control tokens, where a vocabulary has them, that the format is read by."""
    parallel: ClassVar[bool] = True
    """Whether an answer may call several functions, if the request does not say."""
    id_length: ClassVar[int] = 0
    """Of the ids of calls, if the models want a certain one."""

    # reading

    def read(self, answer: Answer) -> Reading[None]:
        """Reads a whole answer, the reasoning first."""
        yield from self.think(answer)
        yield from self.talk(answer)

    def think(self, answer: Answer) -> Reading[None]:
        """Reads the reasoning, if there is some."""
        begin, end = self.thinks
        if not (yield from answer.attempt(_tag(answer, begin))):
            return
        if answer.keeps_reasoning:
            answer.verbatim(begin)
        mark = yield from answer.until((end,), answer.verbatim if answer.keeps_reasoning else answer.reasoning)
        if not mark:
            return
        answer.skip(mark)
        if answer.keeps_reasoning:
            answer.verbatim(mark)
        else:
            answer.end_reasoning()

    def talk(self, answer: Answer) -> Reading[None]:
        """Reads content and calls."""
        marks = (*self.frames, *self.marks) if answer.functions else self.frames
        answer.holds_blanks = bool(marks)
        while mark := (yield from answer.until(marks, answer.content)):
            if mark in self.frames:
                answer.skip(mark)
            elif not (yield from answer.attempt(self.call(answer, mark))):
                answer.skip(mark)
                answer.content(mark)

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the call, or the calls, that may begin at `mark`; False: it is none."""
        raise NotImplementedError

    # writing

    def thinks_after(self, opening: str) -> bool:
        """Whether reasoning may follow one of `openings`."""
        del opening
        return False

    @property
    def conclusion(self) -> str:
        """What ends reasoning in the middle of it."""
        end = self.thinks[1]
        return f"\n{end}\n\n" if end.startswith("</") else end

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """What a call begins with in an answer that may as well have none."""
        return tuple(Trigger("word", mark) for mark in self.marks)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Calls of one of the functions, or of several, in llama.cpp's notation for grammars."""
        raise NotImplementedError

    def thought(self, notation: Notation, *, begun: bool) -> str:
        """The reasoning, likewise, with what follows it; `begun`: the prompt ends in it. Else there may be none."""
        begin, end = self.thinks
        rest = f"{until(end, notation)} {BLANK}"
        return rest if begun else f"({BLANK} {literal(begin)} {rest})?"

    def before_calls(self, prefix: str) -> str:
        """What stands between reasoning and calls, if there is nothing else; `prefix` is in the prompt already."""
        del prefix
        return ""

    def before_content(self, prefix: str) -> str:
        """What stands before content that has a form of its own."""
        del prefix
        return ""

    # the conversation before

    def instructions(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Tells a model whose template has no place for functions how to call them."""
        raise NotImplementedError

    def told(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message about calls in plain words, for such a template."""
        raise NotImplementedError


def _tag(answer: Answer, tag: str) -> Reading[bool]:
    yield from answer.blank()
    return bool((yield from answer.accept(tag)))
