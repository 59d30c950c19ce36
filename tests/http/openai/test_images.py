"""OpenAI's images over the wire, with the echo backend's pictures."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.http.conftest import Answer, Site, StartSite, events_of
from velesio.backends.base import ModelSpec
from velesio.backends.echo.picture import draw
from velesio.config import ServerSection

SPECS = (
    ModelSpec(name="parrot"),
    ModelSpec(name="painter", aliases=("dall-e-2",), options={"capability": "image"}),
)
FILE = draw("given", 0, 16, 16)
MASK = draw("mask", 0, 16, 16)


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    """A gateway with a model that writes and one that draws."""
    return await start_site(specs=SPECS)


async def send(site: Site, path: str, form: aiohttp.FormData, **headers: str) -> Answer:
    async with site.client.post(site.address + path, data=form, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


def form(*files: tuple[str, bytes], **texts: str) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    for name, data in files:
        made.add_field(name, data, filename="picture.png", content_type="image/png")
    for name, text in texts.items():
        made.add_field(name, text)
    return made


def pictures(answer: Mapping[str, Any]) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in answer["data"]]


def named_events(body: bytes) -> list[tuple[str, Any]]:
    found = []
    for event in body.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]:
        name, data = event.split(b"\n")
        found.append((name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))))
    return found


async def test_pictures_come_in_base64(site: Site) -> None:
    """As many as were asked for, of the size that was asked for, from the model that draws."""
    answer = await site.post("/v1/images/generations", {"prompt": "a boat", "n": 2, "size": "32x16", "seed": 5})
    body = answer.json()
    assert answer.status == 200
    assert pictures(body) == [draw("a boat|", seed, 32, 16) for seed in (5, 6)]
    assert [each["seed"] for each in body["data"]] == [5, 6]
    assert (body["size"], body["output_format"], body["background"]) == ("32x16", "png", "opaque")
    assert body["usage"] == {
        "input_tokens": 2,
        "output_tokens": 0,
        "total_tokens": 2,
        "input_tokens_details": {"text_tokens": 2, "image_tokens": 0},
    }


async def test_a_stream_shows_previews_and_then_each_picture(site: Site) -> None:
    """Two previews of each of two pictures at most, counted for each, then the pictures."""
    body = {"prompt": "a boat", "n": 2, "size": "8x8", "stream": True, "partial_images": 2, "model": "dall-e-2"}
    answer = await site.post("/v1/images/generations", body)
    assert answer.body.endswith(b"\n\ndata: [DONE]\n\n")
    events = named_events(answer.body)
    assert [name.partition(".")[2] for name, _ in events] == ["partial_image"] * 4 + ["completed"] * 2
    assert all(name == data["type"] and name.startswith("image_generation.") for name, data in events)
    order = [(data["index"], data["partial_image_index"]) for _, data in events[:4]]
    assert order == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [base64.b64decode(data["b64_json"]) for _, data in events[4:]] == [draw("a boat|", n, 8, 8) for n in (0, 1)]
    assert [data["usage"]["input_tokens"] for _, data in events[4:]] == [2, 0]


async def test_a_stream_that_fails_says_so(site: Site) -> None:
    """Before its begin with a status, later with an event."""
    late = await site.post("/v1/images/generations", {"prompt": "[[fail no paint]] x", "stream": True})
    assert [json.loads(event)["error"]["message"] for event in events_of(late.body)[:-1]] == ["no paint"]
    early = await site.post("/v1/images/generations", {"prompt": "x", "stream": True, "model": "parrot"})
    assert (early.status, early.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize("mask", [(), (("mask", MASK),)])
async def test_an_edit_is_a_form_or_json(site: Site, mask: tuple[tuple[str, bytes], ...]) -> None:
    """Numbers in a form are texts; both bodies give the same picture."""
    sent = form(("image[]", FILE), *mask, prompt="a boat", n="2", seed="3", size="8x8")
    by_form = await send(site, "/v1/images/edits", sent)
    packed = {name: base64.b64encode(data).decode() for name, data in (("image", FILE), *mask)}
    by_json = await site.post("/v1/images/edits", {"prompt": "a boat", "n": 2, "seed": 3, "size": "8x8"} | packed)
    assert (by_form.status, by_json.status) == (200, 200), by_form.body
    assert pictures(by_form.json()) == pictures(by_json.json())
    other = await send(site, "/v1/images/edits", form(("image", MASK), prompt="a boat", n="2", seed="3", size="8x8"))
    assert pictures(other.json()) != pictures(by_form.json())


async def test_an_edit_streams(site: Site) -> None:
    """With events of its own name."""
    sent = form(("image", FILE), prompt="a boat", stream="true", partial_images="1")
    answer = await send(site, "/v1/images/edits", sent)
    assert [name for name, _ in named_events(answer.body)] == ["image_edit.partial_image", "image_edit.completed"]


async def test_a_variation(site: Site) -> None:
    """Of a picture alone."""
    answer = await send(site, "/v1/images/variations", form(("image", FILE), n="3"))
    assert len(set(pictures(answer.json()))) == 3


@pytest.mark.parametrize(
    ("sent", "status", "param"),
    [
        (form(prompt="x"), 400, "image"),
        (form(("image", FILE), prompt="x", n="many"), 400, "n"),
        (form(("image", FILE), prompt="x", n="11"), 400, "n"),
        (form(("image", FILE), prompt="x", stream="perhaps"), 400, "stream"),
        (form(*(("image", FILE),) * 17, prompt="x"), 400, "image"),
        (form(("image", FILE), ("mask", b""), prompt="x"), 400, "mask"),
        (form(("image", FILE), prompt="x", output_format="jpeg"), 501, "output_format"),
        (form(("image", FILE), prompt="x", response_format="url"), 400, "response_format"),
        (form(*(("image", b"x"),) * 65, prompt="x"), 400, None),
    ],
)
async def test_forms_are_refused(site: Site, sent: aiohttp.FormData, status: int, param: str | None) -> None:
    """With the field, in OpenAI's shape."""
    answer = await send(site, "/v1/images/edits", sent)
    assert (answer.status, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\n\r\nx", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", b"x" * 20000],
)
async def test_what_is_no_form_is_refused(site: Site, body: bytes) -> None:
    """However broken."""
    answer = await site.ask("POST", "/v1/images/edits", body, Content_Type="multipart/form-data; boundary=b")
    assert answer.status == 400
    assert answer.json()["error"]["message"]


async def test_a_form_without_a_boundary_is_refused(site: Site) -> None:
    """It cannot be read at all."""
    answer = await site.ask("POST", "/v1/images/edits", b"x", Content_Type="multipart/form-data")
    assert (answer.status, "form" in answer.json()["error"]["message"]) == (400, True)


async def test_a_form_is_bounded(start_site: StartSite) -> None:
    """By `server.max_image_body`, also where its length is not told."""
    site = await start_site(specs=SPECS, server=ServerSection(max_image_body=4096))
    told = await send(site, "/v1/images/edits", form(("image", b"x" * 5000), prompt="x"))

    async def parts() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(5):
            yield b"x" * 1000
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with site.client.post(f"{site.address}/v1/images/edits", data=parts(), headers=headers) as response:
        untold = response.status
    assert (told.status, untold) == (413, 413)


async def test_a_form_is_made_once(site: Site) -> None:
    """A form that comes again with the same key gets the same picture, another one is refused."""
    headers = {"Idempotency-Key": "once"}
    first = await send(site, "/v1/images/edits", form(("image", FILE), prompt="x"), **headers)
    again = await send(site, "/v1/images/edits", form(("image", FILE), prompt="x"), **headers)
    other = await send(site, "/v1/images/edits", form(("image", MASK), prompt="x"), **headers)
    assert (again.headers["X-Velesio-Job-Id"], again.json()) == (first.headers["X-Velesio-Job-Id"], first.json())
    assert other.status == 422


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/images/generations", {"prompt": "a boat", "n": 2, "seed": 1}),
        ("/v1/images/edits", {"prompt": "a boat", "image": base64.b64encode(FILE).decode()}),
        ("/v1/images/variations", {"image": base64.b64encode(FILE).decode()}),
    ],
)
async def test_pictures_in_the_background(site: Site, url: str, body: dict[str, Any]) -> None:
    """Their job's result is what the route itself answers."""
    queued = await site.post("/v1/jobs", {"url": url, "body": body})
    assert queued.status == 202, queued.body
    job = queued.json()["id"]
    await site.get(f"/v1/jobs/{job}/events")
    result = await site.get(f"/v1/jobs/{job}/result")
    direct = await site.post(url, body)
    assert (result.status, pictures(result.json())) == (200, pictures(direct.json()))
