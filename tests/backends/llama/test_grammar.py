"""Constraints without a model: triggers, control tokens, what is kept."""

from collections.abc import Callable

import pytest

from velesio.backends.llama.automaton import Vocabulary
from velesio.backends.llama.grammar import Compiler, Constraint, Watch, constraint_of
from velesio.errors import BadRequest
from velesio.jobs import Grammar, Trigger

NAMES = ["a", "b", "ab", " <", "<t", ">", "<t>a", "x", "é", "<end>", "<mark>"]
END, MARK = 9, 10
PIECES = [name.encode() if number not in {END, MARK} else b"" for number, name in enumerate(NAMES)]


def tokenize(text: str) -> list[int]:
    return [NAMES.index(text)] if text in NAMES else [0, 0]


VOCABULARY = Vocabulary(PIECES, [END], lambda token: NAMES[token].encode(), tokenize)


def constraint(gbnf: str, *triggers: Trigger, preserved: tuple[str, ...] = ()) -> Constraint:
    made = constraint_of(
        Grammar(gbnf=gbnf, lazy=bool(triggers), triggers=triggers, preserved=preserved), Compiler(VOCABULARY)
    )
    assert made is not None
    return made


def accept(made: Constraint, *names: str) -> None:
    for name in names:
        made.accept(NAMES.index(name))


def allowed(made: Constraint) -> set[str]:
    return {NAMES[token] for token in made.allowed().tolist()}


def test_tokens_are_accepted_until_the_end() -> None:
    """What is allowed shrinks to the end mark."""
    made = constraint('root ::= "ab" "x"')
    assert allowed(made) == {"a", "ab"}
    assert made.end is None
    accept(made, "a", "b")
    assert allowed(made) == {"x"}
    accept(made, "x")
    assert allowed(made) == {"<end>"}
    assert made.end == END
    accept(made, "<end>")


@pytest.mark.parametrize("name", ["b", "<end>", "<mark>"])
def test_what_is_not_allowed_is_refused_and_changes_nothing(name: str) -> None:
    """Neither a wrong text nor an early end, for which llama.cpp would end the process."""
    made = constraint('root ::= "ab"')
    assert not made.allows(NAMES.index(name))
    with pytest.raises(BadRequest, match="does not allow"):
        accept(made, name)
    accept(made, "ab")


def test_control_tokens_count_if_they_are_preserved() -> None:
    """Then they stand for their names; otherwise their text would be missing in the answer."""
    assert allowed(constraint("root ::= [<] .*")) == {"<t", "<t>a"}
    made = constraint("root ::= [<] .*", preserved=("<mark>",))
    assert allowed(made) == {"<t", "<t>a", "<mark>"}
    accept(made, "<mark>")


LAZY = 'root ::= "<t>" "a"'


@pytest.mark.parametrize(
    ("triggers", "before", "then"),
    [
        ((Trigger("word", "<t>"),), ("x", "<t", ">"), {"a", "ab"} - {"ab"}),
        ((Trigger("word", "<t>"),), ("x", "b", "<t>a"), {"<end>"}),
        ((Trigger("pattern", "x(<t)"),), ("b", "x", "<t"), {">"}),
        ((Trigger("pattern", "^x.*(<t)$"),), ("x", "b", "<t"), {">"}),
        ((Trigger("pattern_full", "[^<]*(<t)"),), ("a", "b", "<t"), {">"}),
        ((Trigger("word", "nothing"), Trigger("word", "<t")), ("<t",), {">"}),
    ],
)
def test_a_trigger_sets_it_in_force(triggers: tuple[Trigger, ...], before: tuple[str, ...], then: set[str]) -> None:
    """Over the borders of tokens; the grammar begins with the trigger, or with the first group of a pattern."""
    made = constraint(LAZY, *triggers)
    for name in before[:-1]:
        assert made.is_free
        accept(made, name)
    assert made.is_free
    accept(made, before[-1])
    assert not made.is_free
    assert allowed(made) == then


def test_anything_goes_before_the_trigger() -> None:
    """The end of the answer too."""
    made = constraint(LAZY, Trigger("word", "<t>"))
    assert all(made.allows(token) for token in range(len(NAMES)))
    accept(made, "x", "<end>")


def test_a_pattern_for_all_of_the_answer_is_not_met_by_a_part_of_it() -> None:
    """Not even by its begin."""
    made = constraint(LAZY, Trigger("pattern_full", "x(<t)"))
    accept(made, "a", "x", "<t")
    assert made.is_free


def test_a_grammar_that_does_not_fit_its_trigger_waits_for_the_next() -> None:
    """The word was meant as text; the next one may not be."""
    made = constraint('root ::= "<t" ">"', Trigger("word", "<"))
    accept(made, "<t>a")
    assert made.is_free
    accept(made, "<t")
    assert allowed(made) == {">"}


def test_a_long_answer_is_watched_in_bounded_memory() -> None:
    """Only its end is kept."""
    watch = Watch([Trigger("word", "<t>")], VOCABULARY)
    for _ in range(40):
        assert watch.push(7, b"x" * 4096) is None
    assert len(watch._text) <= 64 * 1024
    assert watch.push(6, b"<t>a") == b"<t>a"


def test_a_long_answer_in_a_counting_grammar_stays_small() -> None:
    """States that were passed are forgotten."""
    made = constraint("root ::= [a]{0,20000}")
    for _ in range(10_000):
        made.accept(0)
    assert len(made._automaton) <= 4097
    assert made.allows(0)
    assert made.allows(END)


def test_the_same_grammar_is_one_automaton() -> None:
    """By what it says, not by which object says it; a schema by its content."""
    compiler = Compiler(VOCABULARY, size=2)
    first = compiler.compiled(Grammar(schema={"type": "null"}))
    assert compiler.compiled(Grammar(schema={"type": "null"})) is first
    compiler.compiled(Grammar(gbnf="root ::= [a]"))
    assert compiler.compiled(Grammar(schema={"type": "null"})) is first
    compiler.compiled(Grammar(gbnf="root ::= [b]"))
    compiler.compiled(Grammar(gbnf="root ::= [c]"))
    assert compiler.compiled(Grammar(schema={"type": "null"})) is not first


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: constraint(LAZY, Trigger("pattern", "(")), "cannot be read"),
        (lambda: constraint(LAZY, Trigger("token", token=11)), "0 to 10"),
        (lambda: constraint(LAZY, *[Trigger("word", "x")] * 65), "at most 64"),
    ],
)
def test_triggers_that_cannot_be_used_are_refused(make: Callable[[], Constraint], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        make()
    assert caught.value.param == "grammar_triggers"
