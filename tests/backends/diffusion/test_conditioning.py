"""Prompts as tokens and states: the tokenizer and encoder of CLIP, chunks, weights, inversions."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from tests.backends.diffusion.conftest import Studio
from velesio.backends.diffusion import tokenizer
from velesio.backends.diffusion.chunks import Inversion, Marks, chunked
from velesio.backends.diffusion.conditioning import Conditioner, Style
from velesio.backends.diffusion.prompt import parts
from velesio.backends.diffusion.text_encoder import TextEncoder, TextShape

WORDS = tokenizer.shipped()
MARKS = Marks(begin=100, end=101, comma=44, pad=101, room=10)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    """transformers' tokenizer of the same vocabulary."""
    place = tmp_path_factory.mktemp("clip")
    (place / "vocab.json").write_text(json.dumps(WORDS.vocabulary))
    (place / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in WORDS.merges))
    assert tokenizer.of_folder(place).vocabulary == WORDS.vocabulary
    return CLIPTokenizer(vocab=str(place / "vocab.json"), merges=str(place / "merges.txt"))


def test_the_vocabulary_is_clips() -> None:
    """Its size, marks, and a text that everybody knows."""
    assert (WORDS.size, WORDS.begin, WORDS.end, WORDS.comma) == (49408, 49406, 49407, 267)
    assert WORDS.encode("a photo of an astronaut riding a horse") == [320, 1125, 539, 550, 18376, 6765, 320, 4558]


@pytest.mark.parametrize(
    "text",
    [
        "A Photo, 4K!!! (masterpiece)",
        "I'll don't we've 'tis it's",
        "漢字 ½ x² 1234 naïve Ünïcödé",
        "emoji 🦊🐢\tand\n\nblanks  ",
        "<|endoftext|> ... , ,",
        "&amp; a_b-c/d",
        "",
    ],
)
def test_tokens_are_those_of_transformers(oracle: CLIPTokenizer, text: str) -> None:
    """The same numbers for texts of all kinds."""
    assert WORDS.encode(text) == oracle(text)["input_ids"][1:-1]


def test_the_encoder_is_transformers(oracle: CLIPTokenizer) -> None:
    """The same states of all layers and the same pooled vector, with the same weights."""
    shape = TextShape(49408, 32, 3, 2, 64, projection=16)
    encoder = TextEncoder(shape).eval()
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        projection_dim=16,
        bos_token_id=49406,
        eos_token_id=49407,
    )
    theirs = CLIPTextModelWithProjection(config).eval()
    theirs.load_state_dict(encoder.state_dict())
    ids = oracle(["a fox", "a big red fox"], padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    ends = (ids == 49407).int().argmax(dim=1)
    with torch.inference_mode():
        mine = encoder.forward(encoder.vectors(ids), ends)
        wanted = theirs(ids, output_hidden_states=True)
    assert torch.allclose(mine.last, wanted.last_hidden_state, atol=1e-5)
    assert torch.allclose(mine.pooled, wanted.text_embeds, atol=1e-5)
    for one, other in zip(mine.layers, wanted.hidden_states, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def rows(text: str, backtrack: int = 3, **inversions: int) -> list[list[int]]:
    """Chunks of ten tokens over a vocabulary of single letters; begin, end and fill left out."""
    known = {ord(name[0]): [Inversion(name, tuple(map(ord, name)), length)] for name, length in inversions.items()}
    found = chunked(parts(text), lambda piece: [ord(letter) for letter in piece], MARKS, known, backtrack=backtrack)
    for chunk in found:
        assert len(chunk.tokens) == len(chunk.weights) == 12
        assert chunk.tokens[0] == 100
        assert set(chunk.tokens[chunk.end :]) == {101}
    return [list(chunk.tokens[1 : chunk.end]) for chunk in found]


def letters(text: str) -> list[int]:
    return list(map(ord, text))


def test_chunks() -> None:
    """Full rows, breaks, and commas near a row's end."""
    assert rows("") == [[]]
    assert rows("abcdefghijkl") == [letters("abcdefghij"), letters("kl")]
    assert rows("ab BREAK cd") == [letters("ab"), letters("cd")]
    assert rows("abcdefg,hijkl") == [letters("abcdefg,"), letters("hijkl")]
    assert rows("abc,defghijkl") == [letters("abc,defghi"), letters("jkl")]
    assert rows("abcdefg,hijkl", backtrack=0) == [letters("abcdefg,hi"), letters("jkl")]


def test_vectors_are_not_parted() -> None:
    """An inversion that does not fit moves on to the next row."""
    assert rows("abcdefgh xyz", xyz=4) == [letters("abcdefgh "), [0, 0, 0, 0]]
    assert rows("a xyz b", xyz=2) == [[*letters("a "), 0, 0, *letters(" b")]]


@given(st.text(alphabet="abc,() ", max_size=80), st.integers(0, 9))
def test_chunks_lose_nothing(text: str, backtrack: int) -> None:
    """All tokens are there, in order, in rows that are not too long."""
    found = rows(text, backtrack)
    assert [token for row in found for token in row] == letters("".join(part.text for part in parts(text)))
    assert all(len(row) <= 10 for row in found)


@pytest.fixture
def conditioner(studio: Studio) -> Conditioner:
    return studio.engine._models.own.conditioner


def test_contexts(conditioner: Conditioner) -> None:
    """77 tokens a chunk; a weight moves its tokens and keeps the mean; clip skip takes an earlier layer."""
    [plain] = conditioner.contexts(["a fox in snow"], Style())
    assert plain.states.shape == (77, 32)
    assert conditioner.contexts(["fox, " * 60], Style())[0].states.shape == (154, 32)
    [heavy] = conditioner.contexts(["a (fox:1.5) in snow"], Style())
    [kept] = conditioner.contexts(["a (fox:1.5) in snow"], Style(emphasis="no_norm"))
    [ignored] = conditioner.contexts(["a (fox:1.5) in snow"], Style(emphasis="ignore"))
    assert torch.equal(ignored.states, plain.states)
    assert torch.allclose(kept.states[2], plain.states[2] * 1.5, atol=1e-5)
    assert torch.equal(kept.states[4], plain.states[4])
    assert float(heavy.states.mean()) == pytest.approx(float(plain.states.mean()), rel=1e-3, abs=1e-5)
    [skipped] = conditioner.contexts(["a fox in snow"], Style(clip_skip=2))
    assert not torch.allclose(skipped.states, plain.states)


def test_variants_of_a_prompt_have_one_length(conditioner: Conditioner) -> None:
    """As many chunks as the longest."""
    short, long = conditioner.contexts(["a fox", "fox, " * 60], Style())
    assert short.states.shape == long.states.shape == (154, 32)
    assert torch.equal(
        conditioner.padded(conditioner.contexts(["a fox"], Style())[0], 154, Style()).states, short.states
    )


def test_inversions_stand_in_place_of_words(conditioner: Conditioner, studio: Studio, furnished: Path) -> None:
    """A name in the prompt becomes its three vectors; other words do not."""
    vectors = conditioner._inversions.vectors("sparkle", 32)
    assert vectors.shape == (3, 32)
    [found] = conditioner.contexts(["a sparkle fox"], Style())
    [plain] = conditioner.contexts(["a sparkling fox"], Style())
    assert not torch.allclose(found.states[2], plain.states[2])
    assert conditioner._inversions.fits("sparkle", 768) == 0
    assert (studio.picture("a sparkle") != studio.picture("a glitter")).any()
