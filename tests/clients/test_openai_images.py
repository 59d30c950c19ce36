"""OpenAI's Python client and pictures: a real server with echo's pictures and with a checkpoint of random weights."""

import base64
import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image as Pil

from tests.backends.diffusion import tiny
from tests.clients.drawing import drawing
from tests.end_to_end.process import Server
from velesio.backends.echo.picture import draw
from velesio.pictures import picture_text

GREY = tiny.png(np.full((64, 96, 3), 128))


@pytest.fixture(scope="module")
def painting() -> Iterator[Server]:
    """A server with two models that draw."""
    models = (
        'models=[{name="echo", backend="echo", capability="image", aliases=["dall-e-2"]}, '
        '{name="tiny", backend="diffusion", path="checkpoints/tiny.safetensors", native=64, aliases=["gpt-image-1"]}]'
    )
    with drawing(models) as server:
        yield server


@pytest.fixture
def client(painting: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{painting.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def files(answer: ImagesResponse) -> list[bytes]:
    assert answer.data is not None
    return [base64.b64decode(each.b64_json or "") for each in answer.data]


def shape(file: bytes) -> tuple[int, int]:
    return Pil.open(io.BytesIO(file)).size


def masked(box: tuple[int, int, int, int]) -> bytes:
    """A mask of the size of `GREY`, transparent in a box."""
    mask = Pil.new("RGBA", (96, 64), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), box)
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def test_generate(client: openai.OpenAI) -> None:
    """Pictures in base64 with what was used; dall-e-2's usual fields are understood."""
    answer = client.images.generate(
        prompt="a boat",
        model="dall-e-2",
        n=2,
        size="256x256",
        response_format="b64_json",
        quality="standard",
        user="me",
    )
    assert files(answer) == [draw("a boat|", seed, 256, 256) for seed in (0, 1)]
    assert answer.created > 1_600_000_000
    assert answer.size == "256x256"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.total_tokens) == (2, 2)


def test_generate_with_a_checkpoint(client: openai.OpenAI) -> None:
    """A seed makes it repeatable, the prompt changes it, and the size that is left to the model is its own."""
    made = [
        client.images.generate(prompt=prompt, model="tiny", extra_body={"seed": 7, "steps": 4})
        for prompt in ("a boat", "a boat", "a house")
    ]
    first, again, other = (files(each)[0] for each in made)
    assert shape(first) == (64, 64)
    assert tiny.difference(first, again) == 0 < tiny.difference(first, other)
    assert made[0].usage is not None
    assert made[0].usage.input_tokens > 0
    assert b"Steps: 4" in first
    assert b"Seed: 7" in first


@pytest.mark.parametrize(("form", "worse"), [("jpeg", 10), ("webp", 10)])
def test_other_files(client: openai.OpenAI, form: Literal["jpeg", "webp"], worse: int) -> None:
    """JPEG and WebP say how they were made as well; with less quality they are smaller. Echo has only PNG."""
    asked: dict[str, Any] = {"prompt": "a boat", "output_format": form, "extra_body": {"seed": 7, "steps": 2}}
    good = client.images.generate(**asked, model="tiny")
    small = client.images.generate(**asked, model="tiny", output_compression=worse)
    assert good.output_format == form
    assert Pil.open(io.BytesIO(files(good)[0])).format == form.upper()
    assert len(files(small)[0]) < len(files(good)[0])
    assert "Seed: 7" in picture_text.read(files(good)[0]).info
    (event, _) = client.images.generate(**asked, model="tiny", stream=True, partial_images=1)
    assert Pil.open(io.BytesIO(base64.b64decode(event.b64_json))).format == form.upper()
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(**asked, model="echo")
    assert (caught.value.status_code, caught.value.param) == (501, "output_format")


@pytest.mark.parametrize("model", ["echo", "tiny"])
def test_generate_streamed(client: openai.OpenAI, model: str) -> None:
    """Partial pictures in their order, then the whole one, the same as without streaming."""
    asked: dict[str, Any] = {"prompt": "a boat", "model": model, "extra_body": {"seed": 7, "steps": 6}}
    whole = files(client.images.generate(**asked, size="64x64"))[0]  # type: ignore[call-overload]
    events = list(client.images.generate(**asked, size="64x64", stream=True, partial_images=2))  # type: ignore[call-overload]
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(shape(base64.b64decode(event.b64_json)) for event in events)
    assert base64.b64decode(events[-1].b64_json) == whole
    assert events[-1].usage.total_tokens == events[-1].usage.input_tokens > 0


def test_edit_keeps_what_the_mask_covers(client: openai.OpenAI) -> None:
    """The transparent part is drawn anew, the rest stays as it is; the answer has the picture's shape."""
    answer = client.images.edit(
        image=("grey.png", GREY), mask=("mask.png", masked((0, 0, 24, 64))), prompt="a boat", model="tiny",
        size="auto", extra_body={"seed": 3, "steps": 4, "strength": 1.0},
    )  # fmt: skip
    wide, tall = shape(files(answer)[0])
    assert wide % 8 == tall % 8 == 0
    assert wide > tall
    exact = client.images.edit(
        image=("grey.png", GREY), mask=("mask.png", masked((0, 0, 24, 64))), prompt="a boat", model="tiny",
        extra_body={"size": "96x64", "seed": 3, "steps": 4, "strength": 1.0},
    )  # fmt: skip
    found = tiny.pixels(files(exact)[0])
    assert found.shape == (64, 96, 3)
    assert (found[:, 60:] == 128).all()
    assert (found[:, :12] != 128).any()


def test_edit_without_a_mask_changes_all(client: openai.OpenAI) -> None:
    """Strength says how much is left to the seed; a list with one picture is one."""

    def edited(strength: float, seed: int, picture: bytes = GREY) -> Any:
        extra = {"strength": strength, "seed": seed, "size": "96x64", "steps": 10}
        answer = client.images.edit(image=[("a.png", picture)], prompt="a boat", model="tiny", extra_body=extra)
        return tiny.pixels(files(answer)[0])

    slight, strong = (np.abs(edited(strength, 3) - edited(strength, 4)).mean() for strength in (0.1, 1.0))
    assert 0 < slight < strong
    assert (edited(0.1, 3) != edited(0.1, 3, tiny.png(np.zeros((64, 96, 3))))).any()


def test_edit_streamed(client: openai.OpenAI) -> None:
    """With its own events."""
    events = list(
        client.images.edit(
            image=("grey.png", GREY), prompt="x", model="tiny", stream=True, partial_images=1,
            extra_body={"steps": 8, "size": "64x64"},
        )
    )  # fmt: skip
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize("model", ["echo", "tiny"])
def test_variations(client: openai.OpenAI, model: str) -> None:
    """Several, each another one."""
    with pytest.deprecated_call():  # as the client has it, with dall-e-2
        answer = client.images.create_variation(image=("grey.png", GREY), model=model, n=2, extra_body={"steps": 4})
    one, two = files(answer)
    assert one != two


def test_errors(client: openai.OpenAI) -> None:
    """Each is the client's own error with the field, also where the worker finds it."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="x", model="tiny", response_format="url")
    assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("a.png", b"no picture"), prompt="x", model="tiny")
    assert caught.value.param == "image"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("a.png", GREY), mask=("m.png", b"none"), prompt="x", model="tiny")
    assert caught.value.param == "mask"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="x", model="tiny", extra_body={"size": "9999x9999"})
    assert caught.value.param == "size"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="x", model="tiny", extra_body={"sampler": "Oiler"})
    assert "Euler" in caught.value.message
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(prompt="x", model="nobody")
    assert missing.value.param == "model"
