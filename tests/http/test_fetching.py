"""Pictures by address: fetched from where the operator allows, and then as if the request had brought them."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.http.conftest import Site, StartSite
from velesio.backends.base import ModelSpec
from velesio.config import FetchSection
from velesio.http.fetching import MOST, Fetcher, drawn_slots, every_slot, kind_of, slots_of

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CHAT = "/v1/chat/completions"
SEES = ModelSpec(name="parrot", options={"slots": 2})


class Host:
    """A server of pictures; counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/a.png":
                return web.Response(body=PNG)
            case "/page":
                return web.Response(text="<html>")
            case "/large":
                return web.Response(body=PNG + bytes(5000))
            case "/around":
                raise web.HTTPFound("/around")
            case "/there":
                raise web.HTTPFound("/a.png")
            case "/inside":
                raise web.HTTPFound(self.address.replace("127.0.0.1", "localhost") + "/a.png")
        raise web.HTTPNotFound


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host, app = Host(), web.Application()
    app.router.add_route("*", "/{path:.*}", host.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield host
    await runner.cleanup()


def section(**options: Any) -> FetchSection:
    return FetchSection(**{"hosts": ("127.0.0.1:*",), "private": True, "max_bytes": 4000} | options)


def chat(*addresses: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]}


async def refusal(site: Site, *addresses: str) -> str:
    answer = await site.post(CHAT, chat(*addresses))
    assert answer.status == 400, answer.body
    error = answer.json()["error"]
    assert error["param"].endswith("image_url.url")
    return str(error["message"])


async def test_a_picture_takes_the_place_of_its_address(host: Host) -> None:
    """In each family's shape; redirects to allowed hosts are followed."""
    fetcher = Fetcher(section())
    raw: dict[str, Any] = {
        "messages": [
            {"content": [{"type": "image_url", "image_url": {"url": f"{host.address}/a.png"}}]},
            {"content": [{"type": "input_image", "image_url": f"{host.address}/there"}]},
            {"content": [{"type": "image", "source": {"type": "url", "url": f"{host.address}/a.png"}}]},
        ]
    }
    assert await fetcher.inline(raw)
    await fetcher.close()
    encoded = base64.b64encode(PNG).decode()
    first, second, third = (message["content"][0] for message in raw["messages"])
    assert first["image_url"]["url"] == second["image_url"] == f"data:image/png;base64,{encoded}"
    assert third["source"] == {"type": "base64", "media_type": "image/png", "data": encoded}
    assert host.asked == ["/a.png", "/there", "/a.png", "/a.png"]


async def test_the_request_goes_on_as_if_it_had_brought_it(start_site: StartSite, host: Host) -> None:
    """A model that cannot see says so of a fetched picture as of any other."""
    site = await start_site(fetch=section())
    fetched = await site.post(CHAT, chat(f"{host.address}/a.png"))
    brought = await site.post(CHAT, chat("data:image/png;base64," + base64.b64encode(PNG).decode()))
    assert fetched.status == brought.status == 501
    assert fetched.json() == brought.json()
    assert host.asked == ["/a.png"]


async def test_by_default_nothing_is_fetched(site: Site, host: Host) -> None:
    """The refusal says how to send a picture."""
    assert "send the file itself" in await refusal(site, f"{host.address}/a.png")
    assert host.asked == []


async def test_what_cannot_be_had_is_refused_with_the_reason(start_site: StartSite, host: Host) -> None:
    """The field, and why; nothing of the network behind the server."""
    site = await start_site(fetch=section())
    assert "is no picture" in await refusal(site, f"{host.address}/page")
    assert "fetch.max_bytes" in await refusal(site, f"{host.address}/large")
    assert "the answer is 404" in await refusal(site, f"{host.address}/nothing")
    assert "redirects more than 3 times" in await refusal(site, f"{host.address}/around")
    assert "cannot be reached" in await refusal(site, "http://127.0.0.1:9/a.png")
    assert "'example.org' is not allowed: this server's fetch.hosts" in await refusal(site, "http://example.org/a.png")
    answer = await site.post(CHAT, chat(*[f"{host.address}/a.png"] * (MOST + 1)))
    assert answer.status == 400
    assert f"at most {MOST}" in answer.json()["error"]["message"]


async def test_a_redirect_is_checked_like_the_first_address(start_site: StartSite, host: Host) -> None:
    """A host of the list cannot send the server to one that is not in it."""
    site = await start_site(fetch=section())
    assert "'localhost:" in await refusal(site, f"{host.address}/inside")
    assert host.asked == ["/inside"]


async def test_a_name_that_stands_for_a_private_address_is_not_reached(start_site: StartSite, host: Host) -> None:
    """`localhost` is in the list and `private` is off: the connection looks at what the name stands for."""
    site = await start_site(fetch=section(hosts=("localhost:*",), private=False))
    address = host.address.replace("http://127.0.0.1", "https://localhost")
    assert "private address" in await refusal(site, f"{address}/a.png")
    assert host.asked == []


async def test_all_pictures_of_a_request_share_the_bound(start_site: StartSite, host: Host) -> None:
    """Many small ones are as much as a large one."""
    site = await start_site(fetch=section(max_bytes=len(PNG) * 2))
    assert "too large" in await refusal(site, *[f"{host.address}/a.png"] * 3)


def test_only_what_stands_for_a_picture_is_fetched() -> None:
    """Addresses in texts, tools and other fields are just text."""
    raw = {
        "messages": [{"content": "see https://example.org/a.png"}, {"content": [{"type": "text", "text": "http://x"}]}],
        "tools": [{"type": "function", "function": {"url": "https://example.org"}}],
        "metadata": {"url": "https://example.org", "image_url": "https://example.org"},
    }
    assert list(slots_of(raw)) == []
    deep: Any = {"type": "image_url", "image_url": "https://example.org"}
    for _ in range(100):
        deep = [deep]
    assert list(slots_of(deep)) == []
    assert (kind_of(PNG), kind_of(b"\xff\xd8\xff\xe0"), kind_of(b"<svg>"), kind_of(b"")) == ("png", "jpeg", "", "")


A = "https://a.example/a.png"


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        ({"init_images": [A, "aGk="], "mask": A, "prompt": A, "styles": [A], "script_args": [A]},
         ["init_images[0]", "mask"]),
        ({"image": A, "model": A}, ["image"]),
        ({"imageList": [{"data": A, "name": A}]}, ["imageList[0].data"]),
        ({"controlnet_input_images": [A], "controlnet_masks": [A], "data": A},
         ["controlnet_input_images[0]", "controlnet_masks[0]"]),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"image": A, "mask": A}, {"image": {"image": A, "mask": A}}]}}},
         [f"alwayson_scripts.ControlNet.args[{place}" for place in ("0].image", "0].mask", "1].image.image",
                                                                    "1].image.mask")]),
        ({"controlnet_units": [{"input_image": [A, A]}]},
         ["controlnet_units[0].input_image[0]", "controlnet_units[0].input_image[1]"]),
        ({"images": [{"image_url": A}, {"image_url": {"url": A}}], "mask": {"image_url": A}},
         ["images[0].image_url", "images[1].image_url.url", "mask.image_url"]),
    ],
)  # fmt: skip
def test_where_addresses_stand_in_requests_for_pictures(raw: dict[str, Any], paths: list[str]) -> None:
    """In the fields that hold pictures, and in no other text; also where such a request is to be done in the
    background."""
    assert [slot.path for slot in drawn_slots(raw)] == paths
    kept = {"url": "/sdapi/v1/img2img", "body": raw}
    assert [slot.path for slot in every_slot(kept)] == [f"body.{path}" for path in paths]
    for slot in drawn_slots(raw):
        slot.put(PNG)
    assert list(drawn_slots(raw)) == []


def test_deep_requests_for_pictures_are_walked_so_far() -> None:
    """Nobody's stack overflows."""
    deep: Any = {"image": A}
    for _ in range(500):
        deep = {"image": [deep]}
    assert list(drawn_slots(deep)) == []


PAINTER = ModelSpec(name="painter", options={"capability": "image"})
SMALL = {"prompt": "a fox", "seed": 7, "steps": 1, "width": 16, "height": 16}


async def test_a1111s_pictures_are_fetched(start_site: StartSite, host: Host) -> None:
    """The answer is the one to the same request that brings them; nulls of the body stay what they are."""
    site = await start_site(specs=[PAINTER], fetch=section())
    encoded, address = base64.b64encode(PNG).decode(), f"{host.address}/a.png"
    bodies = [SMALL | {"init_images": [each], "mask": each, "styles": None} for each in (encoded, address)]
    brought, fetched = [(await site.post("/sdapi/v1/img2img", body)).json() for body in bodies]
    assert brought["images"] == fetched["images"]
    assert host.asked == ["/a.png", "/a.png"]
    told = await site.post("/sdapi/v1/png-info", {"image": address})
    assert told.status == 200
    refused = await site.post("/sdapi/v1/img2img", SMALL | {"init_images": [f"{host.address}/page"]})
    assert (refused.status, "'init_images[0]'" in refused.json()["detail"]) == (400, True)


async def test_openais_edits_are_fetched(start_site: StartSite, host: Host) -> None:
    """Of its JSON form."""
    site = await start_site(specs=[PAINTER], fetch=section())
    body = {"prompt": "a fox", "seed": 1, "size": "16x16"}
    shown = [{"image_url": address} for address in (f"{host.address}/a.png", _data())]
    fetched, brought = [(await site.post("/v1/images/edits", body | {"images": [each]})).json() for each in shown]
    assert fetched["data"] == brought["data"]


def _data() -> str:
    return "data:image/png;base64," + base64.b64encode(PNG).decode()


async def test_by_default_no_picture_is_fetched(start_site: StartSite, host: Host) -> None:
    """The refusal names the option and says how to send one."""
    site = await start_site(specs=[PAINTER])
    refused = await site.post("/sdapi/v1/img2img", SMALL | {"init_images": [f"{host.address}/a.png"]})
    assert refused.status == 400
    assert all(word in refused.json()["detail"] for word in ("init_images[0]", "fetch.hosts", "base64"))
    assert host.asked == []
