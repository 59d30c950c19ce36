"""Text out of tokens: whole characters, no stop strings, and a state that tokens alone restore."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.llama.text import TextStream

TEXTS = st.text(alphabet="ab\n🦊é", max_size=20)
STOPS = st.lists(st.text(alphabet="ab\n🦊é", min_size=1, max_size=4), max_size=3)
CUTS = st.lists(st.integers(0, 80), max_size=20)


def pieces_of(text: str, cuts: list[int]) -> list[bytes]:
    """The text's bytes cut at any places, characters or not."""
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[begin:end] for begin, end in pairwise(places)]


def reference(pieces: list[bytes], stops: list[str]) -> tuple[list[str], str]:
    """What may be shown after each piece, in plain words: nothing from the earliest stop string on, nothing from
    where the rest could become one. Ends with the piece that completes a stop string."""
    shown, data = [], b""
    for piece in pieces:
        data += piece
        text = data.decode("utf-8", "ignore")
        places = [(text.find(stop), index, stop) for index, stop in enumerate(stops) if stop in text]
        if places:
            place, _, stop = min(places)
            return [*shown, text[:place]], stop
        ends = [place for place in range(len(text) + 1) if any(stop.startswith(text[place:]) for stop in stops)]
        shown.append(text[: min(ends, default=len(text))])
    return shown, ""


@given(TEXTS, CUTS, STOPS)
def test_what_is_shown_is_what_the_reference_shows(text: str, cuts: list[int], stops: list[str]) -> None:
    """After every token the text shown is all that cannot be part of a stop string."""
    pieces = pieces_of(text, cuts)
    shown, stop = reference(pieces, stops)
    stream = TextStream(stops)
    for number, expected in enumerate(shown):
        stream.push(number, pieces[number])
        assert stream.text == expected
    assert stream.stopping_word == stop


@given(TEXTS, CUTS, STOPS)
def test_without_a_stop_string_everything_is_shown_in_the_end(text: str, cuts: list[int], stops: list[str]) -> None:
    """`flush` gives back what was held for a stop string that did not come."""
    stream = TextStream(stops)
    for number, piece in enumerate(pieces_of(text, cuts)):
        stream.push(number, piece)
        if stream.stopping_word:
            return
    stream.flush()
    assert stream.text == text


@given(TEXTS, CUTS, STOPS, st.integers(0, 20))
def test_the_tokens_sent_tell_the_text_sent(text: str, cuts: list[int], stops: list[str], crash: int) -> None:
    """Pushing the tokens that came with text restores exactly that text, wherever the first worker died."""
    first, sent, seen = TextStream(stops), [], ""
    pieces = pieces_of(text, cuts)
    for number, piece in enumerate(pieces[:crash]):
        if shown := first.push(number, piece):
            sent += first.take_tokens()
            seen += shown
        if first.stopping_word:
            return
    second = TextStream(stops)
    for token in sent:
        second.push(token, pieces[token])
    assert second.text == seen


def test_bytes_that_are_no_text_are_marked() -> None:
    """Invalid bytes become U+FFFD; an unfinished character at the end stays out."""
    stream = TextStream()
    assert stream.push(1, b"a\xffb") == "a\ufffdb"
    assert stream.push(2, "é".encode()[:1]) == ""
    assert stream.flush() == ""
    assert stream.text == "a\ufffdb"


def test_of_stop_strings_at_one_place_the_first_listed_counts() -> None:
    """The result names the stop string that was listed first."""
    for stops, named in [(("ab", "abc"), "ab"), (("abc", "ab"), "abc")]:
        stream = TextStream(stops)
        assert stream.push(1, b"xabc") == "x"
        assert stream.stopping_word == named


def test_an_empty_stop_string_is_none() -> None:
    """An empty text would stop everything."""
    stream = TextStream(["", "b"])
    assert stream.push(1, b"a") == "a"
    assert stream.stopping_word == ""
