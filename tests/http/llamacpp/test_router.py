"""llama.cpp's multi-model mode."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.http.conftest import Answer, Site, StartSite, until
from velesio.backends.base import ModelCard, ModelSpec
from velesio.config import KeySection
from velesio.http.llamacpp.router import changes
from velesio.states import ModelState, State, overall

SPECS = (ModelSpec(name="one", aliases=("uno",)), ModelSpec(name="two", options={"load_seconds": 0.3}))


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


async def statuses(site: Site) -> dict[str, str]:
    listed = (await site.get("/models")).json()["data"]
    return {entry["id"]: entry["status"]["value"] for entry in listed}


async def status_is(site: Site, model: str, state: State) -> None:
    await until(lambda: overall(site.gateway.registry.states(model)).state == state)


def said(answer: Answer) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status
    return answer.status, error["message"]


async def test_models_are_unloaded_and_loaded(site: Site) -> None:
    """Each is `{"success": true}`, and the list says what has become of them."""
    await status_is(site, "two", "loaded")
    assert await statuses(site) == {"one": "loaded", "two": "loaded"}
    for path, state in (("/models/unload", "unloaded"), ("/models/load", "loaded")):
        answer = await site.post(path, {"model": "two"})
        assert (answer.status, answer.json()) == (200, {"success": True})
        await status_is(site, "two", state)  # type: ignore[arg-type]
        assert await statuses(site) == {"one": "loaded", "two": state}


async def test_a_model_that_is_not_loaded_is_loaded_by_a_request(site: Site) -> None:
    """But not with `?autoload=false`, which is refused at once."""
    await site.post("/models/unload", {"model": "one"})
    await status_is(site, "one", "unloaded")
    body = {"model": "uno", "prompt": "hello", "n_predict": 1}
    for off in ("false", "0"):
        status, message = said(await site.post(f"/completion?autoload={off}", body))
        assert (status, message.startswith("model is not loaded: one is unloaded")) == (400, True)
    assert (await site.post("/completion?autoload=true", body)).status == 200
    await status_is(site, "one", "loaded")
    assert (await site.post("/completion?autoload=false", body)).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/models/load", {}, 400, "model name is missing from the request"),
        ("/models/load", {"model": 3}, 400, "expected a string"),
        ("/models/load", {"model": "tow"}, 404, "Did you mean two?"),
        ("/models/load", {"model": "uno"}, 400, "model is already running"),
        ("/models/unload", {}, 400, "model name is missing from the request"),
        ("/models/unload", {"model": "tow"}, 404, "Did you mean two?"),
        ("/models", {"model": "org/file"}, 501, "server.models_dir"),
    ],
)
async def test_refusals(site: Site, path: str, body: dict[str, Any], status: int, text: str) -> None:
    """What is wrong, in llama.cpp's words where its clients may look for them."""
    found, message = said(await site.post(path, body))
    assert found == status
    assert text in message


async def test_what_is_not_loaded_cannot_be_unloaded(site: Site) -> None:
    """The second time is an error."""
    await site.post("/models/unload", {"model": "one"})
    await status_is(site, "one", "unloaded")
    assert said(await site.post("/models/unload", {"model": "one"})) == (400, "model is not running")


async def test_a_key_sees_and_moves_its_own_models_only(start_site: StartSite) -> None:
    """Others are forbidden to load, and not in the list."""
    site = await start_site(specs=SPECS, keys=[KeySection(name="k", token="s", models=("one",))])
    listed = (await site.get("/models", Authorization="Bearer s")).json()["data"]
    assert [entry["id"] for entry in listed] == ["one"]
    assert (await site.post("/models/unload", {"model": "two"}, Authorization="Bearer s")).status == 403
    assert (await site.post("/models/unload", {"model": "one"})).status == 401


@asynccontextmanager
async def listening(site: Site) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """The events of /models/sse as they come."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            if line.startswith(b"data: "):
                heard.put_nowait(json.loads(line.removeprefix(b"data: ")))

    async with site.client.get(site.address + "/models/sse") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        task = asyncio.create_task(listen(response))
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_events_tell_what_becomes_of_a_model(site: Site) -> None:
    """Unloaded, then loading with its progress, then loaded with what it is."""
    await status_is(site, "two", "loaded")
    async with listening(site) as heard, asyncio.timeout(10):
        await site.post("/models/unload", {"model": "two"})
        assert await heard.get() == {"model": "two", "event": "model_status", "data": {"status": "unloaded"}}
        await site.post("/models/load", {"model": "two"})
        event = await heard.get()
        while event["data"]["status"] == "loading":
            assert event["data"]["progress"]["stages"] == [event["data"]["progress"]["current"]]
            event = await heard.get()
        assert event["data"]["status"] == "loaded"
        assert event["data"]["info"]["meta"]["n_ctx"] == 4096


async def test_a_stream_of_events_ends_with_the_server(site: Site) -> None:
    """A gateway that shuts down does not wait for those who listen."""
    async with listening(site) as heard:
        await until(lambda: site.gateway.answers)
        await site.gateway.finish(0.0)
        async with asyncio.timeout(5):
            assert (await heard.get())["error"]["type"] == "unavailable_error"


def look(**states: ModelState) -> dict[str, tuple[ModelCard, ModelState]]:
    return {
        name: (ModelCard(name=name, backend="echo", capability="text", meta={"n_ctx": 8, "path": "/x"}), state)
        for name, state in states.items()
    }


@pytest.mark.parametrize(
    ("earlier", "later", "events"),
    [
        ({}, {}, []),
        (
            {},
            {"a": ModelState(state="loaded")},
            [
                {"model": "*", "event": "models_reload"},
                {"model": "a", "event": "model_status", "data": {"status": "loaded", "info": {"meta": {"n_ctx": 8}}}},
            ],
        ),
        ({"a": ModelState()}, {}, [{"model": "a", "event": "model_remove"}]),
        ({"a": ModelState(expires_at=1.0)}, {"a": ModelState(expires_at=2.0)}, []),
        (
            {"a": ModelState(state="loading", progress=0.25)},
            {"a": ModelState(state="loading", progress=0.5)},
            [
                {
                    "model": "a",
                    "event": "model_status",
                    "data": {
                        "status": "loading",
                        "progress": {"stages": ["text_model"], "current": "text_model", "value": 0.5},
                    },
                }
            ],
        ),
        (
            {"a": ModelState(state="loading")},
            {"a": ModelState(state="failed", reason="no such file")},
            [
                {
                    "model": "a",
                    "event": "model_status",
                    "data": {"status": "unloaded", "exit_code": 1, "reason": "no such file"},
                }
            ],
        ),
        (
            {"a": ModelState(state="loaded")},
            {"a": ModelState(state="sleeping")},
            [{"model": "a", "event": "model_status", "data": {"status": "sleeping"}}],
        ),
    ],
)
def test_changes(earlier: dict[str, ModelState], later: dict[str, ModelState], events: list[dict[str, Any]]) -> None:
    """From one look at the models to the next: who came, who went, who is in another state."""
    assert changes(look(**earlier), look(**later)) == events


@pytest.mark.parametrize("path", ["/models/sse", "/admin/events"])
async def test_a_stream_without_end_does_not_keep_the_server_from_ending(site: Site, path: str) -> None:
    """It ends when the server begins to stop, however long other answers may take; none is begun then."""
    async with site.client.get(site.address + path) as response:
        await until(lambda: site.gateway.answers)
        site.gateway.drain()
        async with asyncio.timeout(5):
            assert b"error" in await response.content.read()
    await until(lambda: not site.gateway.answers)
    assert (await site.get(path)).status == 503
