"""`/v1/messages` over a socket."""

import asyncio
import json
from typing import Any

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection, ServerSection

HI = [{"role": "user", "content": "one two three"}]
LONG = [{"role": "user", "content": "word " * 9}]
HEADERS = {"anthropic_version": "2023-06-01", "anthropic_beta": "anything-2025-01-01"}


def named(answer: Answer) -> list[tuple[str, Any]]:
    """The events of a stream."""
    pairs = [event.split("\n") for event in answer.body.decode().removesuffix("\n\n").split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


async def test_a_message(site: Site) -> None:
    """The answer is called after its job, and repeats the model's name."""
    answer = await site.post("/v1/messages", {"model": "bird", "max_tokens": 50, "messages": HI}, **HEADERS)
    said = answer.json()
    assert answer.status == 200
    assert said["id"] == "msg_" + answer.headers["X-Velesio-Job-Id"]
    assert answer.headers["request-id"] == answer.headers["X-Request-ID"]
    assert (said["model"], said["role"], said["stop_reason"]) == ("parrot", "assistant", "end_turn")
    assert "one two three" in said["content"][0]["text"]
    assert said["usage"]["output_tokens"] > 2


async def test_a_stream_says_the_same(site: Site) -> None:
    """The deltas make up the text of the answer without streaming."""
    body = {"messages": HI, "max_tokens": 2}
    whole = (await site.post("/v1/messages", body)).json()
    answer = await site.post("/v1/messages", body | {"stream": True})
    events = named(answer)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert [name for name, _ in events[:2]] == ["message_start", "content_block_start"]
    assert [name for name, _ in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert text == whole["content"][0]["text"]
    assert events[-2][1]["delta"]["stop_reason"] == whole["stop_reason"] == "max_tokens"
    assert events[-2][1]["usage"] == whole["usage"]


async def test_tokens_are_counted_without_an_answer(site: Site) -> None:
    """As many as the answer's usage says."""
    counted_ = (await site.post("/v1/messages/count_tokens", {"messages": HI})).json()
    assert counted_ == {"input_tokens": len("user: one two three\nassistant: ")}


async def test_no_tokens_only_read_the_prompt(site: Site) -> None:
    """`max_tokens` 0 warms the cache up."""
    said = (await site.post("/v1/messages", {"messages": HI, "max_tokens": 0})).json()
    assert said["content"] == []
    assert said["usage"]["output_tokens"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/messages", {}, 400, "invalid_request_error"),
        ("/v1/messages", b"{", 400, "invalid_request_error"),
        ("/v1/messages", {"messages": HI, "model": "parrrot"}, 404, "not_found_error"),
        ("/v1/messages", {"messages": LONG, "model": "tiny"}, 400, "invalid_request_error"),
        ("/v1/messages", {"messages": LONG, "model": "tiny", "stream": True}, 400, "invalid_request_error"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "[[fail oh]]"}]}, 500, "api_error"),
        ("/v1/messages/count_tokens", {"messages": []}, 400, "invalid_request_error"),
    ],
)
async def test_errors_are_anthropics(site: Site, path: str, body: Any, status: int, kind: str) -> None:
    """What is refused before the first event is JSON with its status, streamed or not."""
    answer = await site.post(path, body)
    assert answer.status == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind
    assert answer.headers["request-id"]


async def test_a_wrong_method_is_told(site: Site) -> None:
    """In Anthropic's shape, with the right one."""
    answer = await site.get("/v1/messages")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["type"] == "error"


async def test_a_key_is_needed_as_anthropics_clients_send_it(start_site: StartSite) -> None:
    """`x-api-key` carries it."""
    site = await start_site(keys=[KeySection(name="game", token="sk-one")])
    refused = await site.post("/v1/messages", {"messages": HI})
    assert (refused.status, refused.json()["error"]["type"]) == (401, "authentication_error")
    served = await site.post("/v1/messages", {"messages": HI}, x_api_key="sk-one")
    assert served.status == 200


async def test_an_error_within_a_stream_is_an_event(site: Site) -> None:
    """The last one, at which the SDKs raise."""
    body = {"messages": [{"role": "user", "content": "a b c [[after 2 fail oh]]"}], "stream": True}
    answer = await site.post("/v1/messages", body)
    name, data = named(answer)[-1]
    assert answer.status == 200
    assert (name, data["error"]["type"]) == ("error", "api_error")
    assert "oh" in data["error"]["message"]


async def test_silence_is_filled_with_pings(start_site: StartSite) -> None:
    """Between the events, never within one."""
    site = await start_site(server=ServerSection(sse_ping_interval=0.02))
    body = {"messages": [{"role": "user", "content": "[[sleep 0.1]] a b"}], "stream": True}
    names = [name for name, _ in named(await site.post("/v1/messages", body))]
    assert "ping" in names
    assert [name for name in names if name != "ping"][-1] == "message_stop"


async def test_a_client_that_leaves_cancels_its_message(site: Site) -> None:
    """The worker is free for others at once."""
    body = {"messages": [{"role": "user", "content": "[[sleep 0.05]] [[tokens 500]] a"}], "stream": True}
    async with site.client.post(site.address + "/v1/messages", json=body) as response:
        await response.content.readline()
    async with asyncio.timeout(5):
        while not (status := (await site.get("/queue/status")).json())["cancelled"]:
            await asyncio.sleep(0.01)
    assert status["active"] == 0
