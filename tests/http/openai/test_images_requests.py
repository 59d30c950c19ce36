"""Requests of OpenAI's images API as jobs."""

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.conftest import ANYTHING
from velesio.errors import BadRequest, Unsupported
from velesio.http.openai.images_requests import (
    EDIT,
    GENERATION,
    preview_every,
    read_edit,
    read_generation,
    read_variation,
)
from velesio.jobs import Image, Inpaint

FILE = b"\x89PNG and more"
PACKED = base64.b64encode(FILE).decode()


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ({}, {"width": 0, "height": 0, "batch": 1, "steps": 20, "seed": -1, "cfg": 7.0, "preview_every": 0}),
        ({"size": "96x64", "n": 10}, {"width": 96, "height": 64, "batch": 10}),
        ({"size": "auto", "quality": "hd"}, {"width": 0, "steps": 40}),
        ({"quality": "low", "steps": 5}, {"steps": 5}),
        ({"quality": "low"}, {"steps": 10}),
        ({"seed": 2**63 - 1, "cfg_scale": 1}, {"seed": 2**63 - 1, "cfg": 1.0}),
        ({"sampler": "Heun", "schedule": "karras"}, {"sampler": "Heun", "schedule": "karras"}),
        ({"negative_prompt": "rain"}, {"negative_prompt": "rain"}),
        ({"output_format": "webp", "output_compression": 70}, {"form": "webp", "quality": 70}),
        ({"partial_images": 3}, {"preview_every": 5}),
        ({"response_format": "b64_json", "output_compression": 100, "background": "auto", "style": "vivid"}, {}),
    ],
)
def test_a_generation_is_a_job(raw: dict[str, Any], fields: dict[str, Any]) -> None:
    """One for all pictures; what is not asked for is the model's own, or A1111's default."""
    (image,) = read_generation(raw | {"prompt": "a boat"}).params
    assert image.prompt == "a boat"
    assert {name: getattr(image, name) for name in fields} == fields
    assert not image.init


@pytest.mark.parametrize(
    "raw",
    [
        {"image": FILE},
        {"image": [FILE]},
        {"image": PACKED},
        {"image": f"data:image/png;base64,{PACKED}"},
        {"images": [{"image_url": f"data:image/png;base64,{PACKED}"}]},
        {"images": [{"image_url": {"url": f"data:image/png;base64,{PACKED}"}}]},
    ],
)
def test_pictures_are_said_in_many_ways(raw: dict[str, Any]) -> None:
    """As a form's file, in base64, as OpenAI's JSON has it: the same bytes."""
    (image,) = read_edit(raw | {"prompt": "x"}).params
    assert (image.init, image.inpaint, image.denoising) == ((FILE,), None, 0.75)


def test_several_pictures_are_changed_each_by_itself() -> None:
    """As one job; all answers to the first one come first."""
    asked = read_edit({"image": [FILE, b"other"], "prompt": "x", "n": 2})
    (image,) = asked.params
    assert (image.init, image.batch, asked.given) == ((FILE, FILE, b"other", b"other"), 4, 2)
    with pytest.raises(BadRequest, match="one is varied"):
        read_variation({"image": [FILE, FILE]})


def test_a_mask_is_drawn_anew_where_it_is_transparent() -> None:
    """The other way round than in the job, where what is opaque is."""
    (image,) = read_edit({"image": FILE, "mask": b"mask", "prompt": "x", "strength": 1}).params
    assert (image.inpaint, image.denoising) == (Inpaint(mask=b"mask", invert=True), 1.0)


def test_a_variation_has_no_prompt() -> None:
    """The picture alone says what is to be seen; a prompt is passed over."""
    (image,) = read_variation({"image": FILE, "n": 2, "prompt": "x"}).params
    assert (image.prompt, image.init, image.batch, image.denoising) == ("", (FILE,), 2, 0.5)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"prompt": "  "}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "big"}, "size"),
        ({"size": "0x64"}, "size"),
        ({"size": "123456x64"}, "size"),
        ({"quality": "superb"}, "quality"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"steps": -1}, "steps"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"cfg_scale": 1e9}, "cfg_scale"),
        ({"partial_images": 4}, "partial_images"),
        ({"response_format": "url"}, "response_format"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """Before anything is queued."""
    with pytest.raises(BadRequest) as caught:
        read_generation({"prompt": "x"} | raw)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"image": None}, "image"),
        ({"image": []}, "image"),
        ({"image": b""}, "image"),
        ({"image": [FILE] * 17}, "image"),
        ({"image": [FILE, b""]}, "image[1]"),
        ({"image": "§"}, "image"),
        ({"image": "https://example.com/a.png"}, "image"),
        ({"image": 5}, "image"),
        ({"images": [{"file_id": "file-1"}], "image": ...}, "images[0]"),
        ({"images": [{"image_url": "https://example.com/a.png"}], "image": ...}, "images[0].image_url"),
        ({"mask": {"file_id": "file-1"}}, "mask"),
        ({"mask": b""}, "mask"),
        ({"strength": 1.5}, "strength"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_bad_fields_of_edits_are_named(raw: dict[str, Any], param: str) -> None:
    """With the place of the picture."""
    body = {name: value for name, value in ({"prompt": "x", "image": FILE} | raw).items() if value is not ...}
    with pytest.raises(BadRequest) as caught:
        read_edit(body)
    assert caught.value.param == param


def test_what_is_not_there_is_refused() -> None:
    """With what to do instead."""
    with pytest.raises(Unsupported, match="not supported; use opaque"):
        read_generation({"prompt": "x", "background": "transparent"})


@given(st.integers(1, 150), st.integers(0, 3), st.floats(0, 1), st.booleans())
def test_previews_are_at_most_as_many_as_wanted(steps: int, wanted: int, strength: float, given: bool) -> None:
    """Before the last step, whatever part of the steps is computed."""
    image = Image("x", steps=steps, init=(FILE,) if given else (), denoising=strength)
    every = preview_every(image, wanted)
    computed = int(steps * strength) if given else steps
    before_the_last = range(every, computed, every) if every else ()
    assert len(before_the_last) <= wanted
    assert len(before_the_last) >= min(wanted, 1) or computed < 2


@given(st.dictionaries(st.sampled_from(sorted({*GENERATION, *EDIT})), ANYTHING, max_size=2))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing else happens."""
    raw = {name: value for name, value in raw.items() if value is not None}
    for read in (read_generation, read_edit, read_variation):
        with contextlib.suppress(BadRequest, Unsupported):
            assert read(raw).params
