"""llama.cpp's resumable streams: a client that left comes back to the very bytes that it missed."""

import asyncio
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection, ServerSection
from velesio.jobs import JobState

SPECS = (ModelSpec(name="slow", options={"tokens_per_second": 40}),)
WORDS = " ".join(f"w{number}" for number in range(20))
CHAT = {"messages": [{"role": "user", "content": WORDS}], "stream": True}


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


async def begin(site: Site, path: str = "/v1/chat/completions", body: Any = CHAT, enough: int = 300) -> bytes:
    """The first bytes of a stream whose client then leaves."""
    got = b""
    async with site.client.post(site.address + path, json=body, headers={"X-Conversation-Id": "c"}) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            got += chunk
            if len(got) >= enough:
                break
        response.close()
    return got


async def rest(site: Site, start: int, **headers: str) -> bytes:
    answer = await site.get(f"/v1/stream?conv_id=c&from={start}", **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    return answer.body


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        ("/v1/chat/completions", CHAT, b"data: [DONE]\n\n"),
        ("/v1/completions", {"prompt": WORDS, "stream": True, "max_tokens": 20}, b"data: [DONE]\n\n"),
        ("/completion", {"prompt": WORDS, "stream": True, "n_predict": 20}, b"\n\n"),
    ],
)
async def test_a_client_goes_on_where_it_left(site: Site, path: str, body: Any, end: bytes) -> None:
    """What it had and what it gets then are one stream; the model was not stopped, nor asked twice."""
    got = await begin(site, path, body)
    whole = got + await rest(site, len(got))
    assert whole == await rest(site, 0)
    assert whole.endswith(end)
    assert b"w0" in got
    assert b"w19" in whole
    assert len(await site.gateway.queue.recent(JobState.DONE)) == 1


async def test_several_readers_follow_one_stream(site: Site) -> None:
    """Each has its own place, while the first client still reads."""
    async with site.client.post(
        site.address + "/v1/chat/completions", json=CHAT, headers={"X-Conversation-Id": "c"}
    ) as first:
        await first.content.readuntil(b"\n\n")
        one, two = await asyncio.gather(rest(site, 0), rest(site, 50))
        assert one[50:] == two
        assert one.endswith(await first.read())


async def test_without_a_conversation_a_leaving_client_cancels(site: Site) -> None:
    """As ever."""
    async with site.client.post(site.address + "/v1/chat/completions", json=CHAT) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    async with asyncio.timeout(5):
        while not await site.gateway.queue.recent(JobState.CANCELLED):
            await asyncio.sleep(0.01)
    assert (await site.get("/v1/stream?conv_id=c")).status == 404


async def test_streams_are_looked_up(site: Site) -> None:
    """By id or by variant of a model; while they go on and when they are done; nobody can list them."""
    headers = {"X-Conversation-Id": "c::slow"}
    async with site.client.post(site.address + "/v1/chat/completions", json=CHAT, headers=headers) as response:
        await response.content.readuntil(b"\n\n")
        [found] = (await site.post("/v1/streams/lookup", {"conversation_ids": ["c", "d", 5]})).json()
        assert (found["conversation_id"], found["is_done"], found["completed_at"]) == ("c::slow", False, 0)
        assert (await site.post("/v1/streams/lookup", {"conversation_ids": ["c::"]})).json() == []
        whole = await response.read()
    [found] = (await site.post("/v1/streams/lookup", {"conversation_ids": ["c::slow"]})).json()
    assert (found["is_done"], found["total_bytes"] >= len(whole)) == (True, True)
    assert found["completed_at"] >= found["started_at"] > 1e9
    assert (await site.post("/v1/streams/lookup", {})).json() == []


async def test_a_stream_is_stopped(site: Site) -> None:
    """DELETE ends the answer and forgets it, whether its client is there or not; twice does no harm."""
    await begin(site)
    for _ in range(2):
        answer = await site.ask("DELETE", "/v1/stream?conv_id=c")
        assert (answer.status, answer.body) == (204, b"")
    async with asyncio.timeout(5):
        while not await site.gateway.queue.recent(JobState.CANCELLED):
            await asyncio.sleep(0.01)
    assert (await site.get("/v1/stream?conv_id=c")).status == 404
    await until(lambda: not site.gateway.answers)


async def test_the_next_answer_takes_the_place_of_the_last(site: Site) -> None:
    """A conversation has one stream: the earlier one is cancelled if it goes on."""
    await begin(site)
    body = {"messages": [{"role": "user", "content": "another"}], "stream": True}
    answer = await site.ask("POST", "/v1/chat/completions", body, X_Conversation_Id="c")
    assert await rest(site, 0) == answer.body
    assert b"another" in answer.body
    async with asyncio.timeout(5):
        while not await site.gateway.queue.recent(JobState.CANCELLED):
            await asyncio.sleep(0.01)


async def test_keys_do_not_reach_each_others_streams(start_site: StartSite) -> None:
    """Another key finds nothing, stops nothing, and may use the same id for itself."""
    keys = [KeySection(name=name, token=name) for name in ("a", "b")]
    site = await start_site(specs=SPECS, keys=keys)
    mine = {"Authorization": "Bearer a", "X_Conversation_Id": "c"}
    whole = (await site.ask("POST", "/v1/chat/completions", CHAT, **mine)).body
    assert (await site.get("/v1/stream?conv_id=c", Authorization="Bearer b")).status == 404
    assert (await site.ask("DELETE", "/v1/stream?conv_id=c", Authorization="Bearer b")).status == 204
    lookup = await site.post("/v1/streams/lookup", {"conversation_ids": ["c"]}, Authorization="Bearer b")
    assert lookup.json() == []
    assert await rest(site, 0, Authorization="Bearer a") == whole


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/stream", 400, "Missing conversation id in path"),
        ("GET", "/v1/stream?conv_id=x", 404, "Stream not found or expired"),
        ("GET", "/v1/stream?conv_id=x&from=-1", 400, "Invalid 'from' offset"),
        ("GET", "/v1/stream?conv_id=x&from=ten", 400, "Invalid 'from' offset"),
        ("GET", "/v1/stream?conv_id=%0a", 400, "a conversation's id has 1 to 256 printable ASCII characters"),
        ("DELETE", "/v1/stream", 400, "Missing conversation id in path"),
    ],
)
async def test_refusals(site: Site, method: str, path: str, status: int, text: str) -> None:
    """In llama.cpp's words and shape."""
    answer = await site.ask(method, path)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["message"]) == (status, status, text)


async def test_a_long_stream_loses_its_beginning(start_site: StartSite) -> None:
    """Who wants it from there must begin anew."""
    site = await start_site(server=ServerSection(stream_bytes=1000))
    body = {"model": "parrot", "prompt": " ".join(["word"] * 500), "stream": True, "n_predict": 500}
    whole = (await site.ask("POST", "/completion", body, X_Conversation_Id="c")).body
    answer = await site.get("/v1/stream?conv_id=c")
    assert (answer.status, answer.json()["error"]["message"]) == (400, "Stream offset lost, please restart")
    assert await rest(site, len(whole) - 500) == whole[-500:]


@pytest.mark.parametrize("name", ["é", "x" * 257])
async def test_a_bad_name_is_refused(site: Site, name: str) -> None:
    """Before anything is computed for it."""
    headers = {"X-Conversation-Id": name}
    async with site.client.post(site.address + "/v1/chat/completions", json=CHAT, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == "X-Conversation-Id"


async def test_a_request_that_is_refused_leaves_no_stream(site: Site) -> None:
    """Neither a bad body nor one that is not streamed."""
    await site.ask("POST", "/v1/chat/completions", CHAT | {"temperature": "hot"}, X_Conversation_Id="c")
    await site.ask("POST", "/v1/chat/completions", CHAT | {"stream": False}, X_Conversation_Id="c")
    assert (await site.post("/v1/streams/lookup", {"conversation_ids": ["c"]})).json() == []


async def test_a_server_that_ends_ends_its_streams(site: Site) -> None:
    """The recorded answer ends with an error, and so do its readers; nobody waits."""
    got = await begin(site)
    reading = asyncio.create_task(rest(site, len(got)))
    await until(lambda: len(site.gateway.answers) == 2)
    async with asyncio.timeout(10):
        await site.gateway.finish(0.0)
        assert b"error" in await reading


async def test_an_answer_goes_on_whenever_its_client_leaves(site: Site) -> None:
    """Even before the first byte of it was sent."""
    post = site.client.post(site.address + "/v1/chat/completions", json=CHAT, headers={"X-Conversation-Id": "c"})
    asking = asyncio.create_task(post.__aenter__())
    async with asyncio.timeout(5):
        while not (await site.post("/v1/streams/lookup", {"conversation_ids": ["c"]})).json():
            await asyncio.sleep(0)
    if not asking.cancel():
        asking.result().close()
    await asyncio.wait({asking})
    assert (await rest(site, 0)).endswith(b"data: [DONE]\n\n")
