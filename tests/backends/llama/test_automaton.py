"""The automaton: regular expressions and llama.cpp's own grammar sampler as oracles."""

import ctypes
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp import llama_cpp as c

from velesio.backends.llama import gbnf
from velesio.backends.llama.automaton import DEAD, Automaton, Vocabulary, utf8_paths
from velesio.backends.llama.binding import Model
from velesio.backends.llama.binding.chain import Candidates
from velesio.errors import BadRequest

PIECES = [b"a", b"b", b"ab", b"ba", b"aab", b"c", "ä".encode(), "ä".encode()[:1], "ä".encode()[1:], b"", b"<think>"]
VOCABULARY = Vocabulary(PIECES, ends=[9], tokenize=lambda text: [10] if text == "<think>" else [])


def automaton(source: str) -> Automaton:
    return Automaton(gbnf.parse(source, VOCABULARY.find))


def accepts(made: Automaton, text: str) -> bool:
    return made.is_complete(made.walk(made.start, text.encode()))


def allowed(source: str, before: str = "") -> set[bytes]:
    made = automaton(source)
    ids = made.allowed(made.walk(made.start, before.encode()), VOCABULARY)
    return {b"END" if VOCABULARY.is_end(token) else PIECES[token] for token in ids.tolist()}


@given(st.text(alphabet="abc", max_size=8))
@pytest.mark.parametrize(
    ("source", "regex"),
    [
        ('root ::= "a"* "b"', "a*b"),
        ("root ::= ([a-b] | c c)+\nc ::= [c]", "([ab]|cc)+"),
        ("root ::= [a]{2,3} [^a]?", "a{2,3}[^a]?"),
        ("root ::= ([a]? [b]?){2,} [c]", "(a?b?){2,}c"),
        ("root ::= ([a]{1,2} | [b]){2}{0,2}", "((a{1,2}|b){2}){0,2}"),
        ('root ::= "ab"+ | .{3}', "(ab)+|.{3}"),
        ('root ::= ""{5} [a]{0}', ""),
    ],
)
def test_texts_are_accepted_as_by_a_regular_expression(source: str, regex: str, text: str) -> None:
    """Python's own engine says which texts are complete."""
    assert accepts(automaton(source), text) == bool(re.fullmatch(regex, text))


@given(st.integers(0, 20), st.integers(0, 20))
def test_what_is_nested_is_counted(opened: int, closed: int) -> None:
    """Beyond regular expressions: as many closing as opening marks."""
    assert accepts(automaton("root ::= [a] root [b] |"), "a" * opened + "b" * closed) == (opened == closed)


@given(
    st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF)).map(sorted), min_size=1, max_size=4),
    st.characters(),
)
def test_classes_take_characters_of_every_width(ranges: list[list[int]], character: str) -> None:
    """A character is in the ranges exactly if its bytes are in those of one path."""
    pairs = gbnf.merged((low, high) for low, high in ranges)
    data = character.encode()
    taken = any(
        len(path) == len(data) and all(low <= byte <= high for (low, high), byte in zip(path, data, strict=True))
        for path in utf8_paths(pairs)
    )
    assert taken == any(low <= ord(character) <= high for low, high in pairs)


@pytest.mark.parametrize(
    ("source", "before", "expected"),
    [
        ("root ::= [ab]", "", {b"a", b"b"}),
        ("root ::= [ab]", "a", {b"END"}),
        ("root ::= [ab]+", "a", {b"a", b"b", b"ab", b"ba", b"aab", b"END"}),
        ('root ::= "aab"', "a", {b"a", b"ab"}),
        ("root ::= [ä]", "", {"ä".encode(), b"\xc3"}),
        ("root ::= [^a] [a]", "", {b"b", b"ba", b"c", "ä".encode(), b"\xc3"}),
        ("root ::= <think> [a]", "", {b"<think>"}),
        ("root ::= !<think>", "", set(PIECES) - {b"<think>"} | {b"END"}),
        ("root ::= [x]", "", set()),
    ],
)
def test_allowed_tokens(source: str, before: str, expected: set[bytes]) -> None:
    """Tokens whose bytes can go on, parts of characters too; the end where the grammar is complete."""
    assert allowed(source, before) - {b""} == expected - {b""}


def test_a_token_in_parts_is_the_same_character() -> None:
    """The two bytes of an umlaut as two tokens."""
    made = automaton("root ::= [ä] [b]")
    state = made.after(made.start, 7, PIECES[7])
    assert {PIECES[token] for token in made.allowed(state, VOCABULARY).tolist()} == {b"\xa4"}
    assert accepts(made, "äb")


def test_a_token_is_taken_as_itself_or_as_its_text() -> None:
    """Where both are possible, both ways go on."""
    made = automaton('root ::= <think> [a] | "<think>" [b]')
    state = made.after(made.start, 10, PIECES[10])
    assert {PIECES[token] for token in made.allowed(state, VOCABULARY).tolist()} == {b"a", b"b"}


def test_states_can_be_forgotten_in_the_middle() -> None:
    """An automaton that has become large starts anew from where it is."""
    made = automaton('root ::= [a]{0,500} "b"')
    state = made.walk(made.start, b"a" * 400)
    fresh, place = made.emptied(state)
    assert len(fresh) < 5 < len(made)
    assert fresh.is_complete(fresh.walk(place, b"a" * 100 + b"b"))
    assert fresh.walk(place, b"a" * 101) == DEAD
    assert made.is_complete(made.walk(state, b"b"))


@pytest.mark.parametrize(
    "source",
    [
        "root ::= (([a]{0,999}){0,999}){0,999}",
        "root ::= (a | b | c)*\na ::= [a]* [a]*\nb ::= a* [a]*\nc ::= (a b){0,9}",
        "root ::= " + "[a]? " * 2500,
        "root ::= (" + "[a]? " * 1500 + ")*",
    ],
)
def test_ambiguity_has_an_end(source: str) -> None:
    """A grammar that can be read in ever more ways is refused, or stays quick."""
    began = time.monotonic()
    try:
        made = automaton(source)
        made.walk(made.start, b"a" * 300)
    except BadRequest as error:
        assert "too many ways" in error.message  # noqa: PT017  # it may also go well
    assert time.monotonic() - began < 5


# llama.cpp's own


OBJECT = r"""
root ::= "{" ws (pair ("," ws pair)*)? "}"
pair ::= str ":" ws str
str ::= "\"" [^"\\]* "\""
ws ::= [ \n]{0,3}
"""
GRAMMARS = [
    'root ::= "yes" | "no"',
    "root ::= [0-9]{2,4} [a-z ]*",
    OBJECT,
    "root ::= [^a-zA-Z]+",
    "root ::= [äöüß☃-⛇😀-😿 ]+",
    "root ::= .{1,5}",
]


@pytest.fixture(scope="module")
def model(smollm2: object) -> object:
    from velesio.backends.llama.options import Options

    made = Model(smollm2, Options(context=64, slots=1, repack="off"), lambda _done: None)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.mark.parametrize("source", GRAMMARS)
def test_the_same_tokens_are_allowed_as_by_llama_cpp(model: Model, source: str) -> None:
    """Over the whole vocabulary of SmolLM2, along an answer of ten tokens; control tokens are ours alone."""
    vocabulary = model.grammars.vocabulary
    made = Automaton(gbnf.parse(source, vocabulary.find))
    theirs = c.llama_sampler_init_grammar(model.vocab, source.encode(), b"root")
    candidates = Candidates(model.n_vocab)
    shown = np.array([bool(piece) for piece in vocabulary.pieces])
    shown[vocabulary.ends] = True
    whole = [piece.decode("utf-8", "ignore").encode() == piece for piece in vocabulary.pieces]
    random = np.random.default_rng(1)
    state = made.start
    try:
        for _ in range(10):
            candidates.fill(np.zeros(model.n_vocab, dtype=np.float32))
            c.llama_sampler_apply(theirs, candidates.pointer)
            rows = candidates.rows
            expected = {int(token) for token in rows["id"][rows["logit"] == 0] if shown[token]}
            ours = made.allowed(state, vocabulary)
            assert set(ours.tolist()) == expected
            # Not into a character: theirs may end inside of one.
            going_on = [token for token in ours.tolist() if not vocabulary.is_end(token) and whole[token]]
            if not going_on:
                break
            token = int(random.choice(going_on))
            c.llama_sampler_accept(theirs, ctypes.c_int32(token))
            state = made.after(state, token, vocabulary.pieces[token])
    finally:
        c.llama_sampler_free(theirs)
