"""The tokenizer's files."""

from collections import Counter

import pytest
from transformers import CLIPTokenizer

from training.tokenizer import END, START, byte_symbols, learn_merges, write_tokenizer
from velesio.backends.diffusion.tokenizer import of_folder

WORDS = Counter({"circle": 50, "circles": 9, "red": 60, "star": 20, "green": 30, "square": 12})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path, WORDS, 600)
    return path


def test_the_most_frequent_pair_is_merged_first():
    """Counted over words by how often they occur; a word's last letter is a symbol of its own kind."""
    merges = learn_merges(Counter({"aab": 3, "ab": 1}), 2)
    assert merges == [("a", "b</w>"), ("a", "ab</w>")]
    assert learn_merges(Counter({"ab": 1}), 99) == [("a", "b</w>")]


def test_every_byte_has_a_symbol_of_its_own():
    """256 of them, all printable."""
    symbols = byte_symbols()
    assert len(set(symbols)) == 256
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in symbols)


def test_known_words_are_one_token_and_any_text_has_tokens(folder):
    """In transformers' CLIP tokenizer: start, one token a word, end; unknown words in pieces."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 600
    assert tokenizer.tokenize("a RED circle, green") == ["a</w>", "red</w>", "circle</w>", ",</w>", "green</w>"]
    ids = tokenizer("red circles").input_ids
    assert [tokenizer.convert_ids_to_tokens(ids)[i] for i in (0, -1)] == [START, END]
    assert tokenizer.unk_token_id not in tokenizer("zürich 42 \N{CAT}", add_special_tokens=False).input_ids


@pytest.mark.parametrize("text", ["a red circle", "Zürich, 42 stars!", "squareish (red:1.2)", "\N{CAT} it's", ""])
def test_the_server_s_tokenizer_gives_the_same_tokens(folder, text):
    """One vocabulary, two readers."""
    theirs = CLIPTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids
    assert of_folder(folder).encode(text) == theirs
