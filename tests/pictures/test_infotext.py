"""The text that says how a picture was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.pictures import infotext

PARAMETERS = {"Seed": 7, "Steps": 20, "Sampler": "DPM++ 2M", "CFG scale": 7.0, "Size": "64x96", "Version": "v1"}


def test_keys_come_in_the_order_that_clients_know_and_others_between_them_and_the_version():
    """Known keys first, in their order; further keys as they were given; the version last; None is left out."""
    given = {"Version": "v1", "Hires upscale": 2, "Seed": 7, "Mask blur": 4, "Steps": 20, "Model": None}
    assert (
        infotext.write("a cat", "", given) == "a cat\nSteps: 20, Seed: 7, Hires upscale: 2, Mask blur: 4, Version: v1"
    )


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "plain"),
        ("a, b", '"a, b"'),
        ("a: b", '"a: b"'),
        ("two\nlines", '"two\\nlines"'),
        ('a "quoted", word', '"a \\"quoted\\", word"'),
        ("grün, rot", '"grün, rot"'),
    ],
)
def test_values_with_commas_colons_and_line_ends_are_quoted(value, quoted):
    """They become JSON with letters as they are, and come back the same."""
    assert infotext.quote(value) == quoted
    assert infotext.unquote(quoted) == value


def test_a_whole_text_is_parsed_into_its_parts():
    """Prompts may span lines; sizes become two numbers; values are text."""
    text = (
        "a cat,\nsitting\nNegative prompt: dogs,\nbirds\nSteps: 20, Sampler: Euler a, Seed: 5, Size: 512x768, Model: m"
    )
    found = infotext.parse(text)
    assert found.prompt == "a cat,\nsitting"
    assert found.negative_prompt == "dogs,\nbirds"
    assert found.parameters == {
        "Steps": "20", "Sampler": "Euler a", "Seed": "5", "Size-1": "512", "Size-2": "768", "Model": "m",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a cat", "ratio: 2, cats: 3", "one\nSteps: 3, Seed: 4", "", 'unfinished: "quote'])
def test_fewer_than_three_pairs_are_a_part_of_the_prompt(text):
    """A last line that only looks a little like parameters is what was asked for."""
    assert infotext.parse(text) == infotext.Infotext(text, "", {})


def test_nested_quotes_hold_pairs_of_their_own():
    """A quoted value may hold commas, colons and quotes, as those of LoRA hashes and ControlNet units do."""
    unit = 'Module: canny, Model: "x, y", Weight: 1'
    text = infotext.write("p", "n", {**PARAMETERS, "ControlNet 0": unit, "Lora hashes": "a: 0123, b: 4567"})
    found = infotext.parse(text).parameters
    assert found["ControlNet 0"] == unit
    assert found["Lora hashes"] == "a: 0123, b: 4567"


def test_missing_parameters_have_their_defaults():
    """What a text does not say is what its writer left out because it is the default."""
    found = infotext.parse(infotext.write("a (red:1.2) cat", "", PARAMETERS)).with_defaults()
    assert found["Prompt"] == "a (red:1.2) cat"
    assert found["Clip skip"] == "1"
    assert found["Emphasis"] == "Original"
    assert found["Masked area padding"] == "32"
    assert found["Steps"] == "20"
    assert "Emphasis" not in infotext.parse(infotext.write(r"a \(red\) cat", "", PARAMETERS)).with_defaults()


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)
PROMPTS = st.lists(LINES, max_size=3).map("\n".join).map(str.strip).filter(
    lambda text: "Negative prompt:" not in text and all(line == line.strip() for line in text.split("\n"))
)  # fmt: skip
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(str.strip)


@given(
    PROMPTS,
    PROMPTS.filter(bool),
    st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9 /-]{1,12}[a-z]", fullmatch=True), VALUES.filter(bool), max_size=4
    ),
)
def test_what_was_written_is_read(prompt, negative, extras):
    """Any prompts and values come back as they were."""
    plain = {key: value for key, value in extras.items() if not value.startswith('"') and "x" not in value}
    found = infotext.parse(infotext.write(prompt, negative, {**PARAMETERS, **plain}))
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert {key: found.parameters.get(key) for key in plain} == plain
