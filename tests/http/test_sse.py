"""Server-sent events: writes, and ends that nobody planned."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from aiohttp import web

from velesio.errors import WorkerLost
from velesio.http import sse
from velesio.http.gateway import REQUEST_ID
from velesio.jobs import Delta, Event


class Plain:
    """A stream whose events are the deltas' texts."""

    def __init__(self, *, one_by_one: bool) -> None:
        self.one_by_one = one_by_one

    def frames(self, index: int, event: Event) -> list[bytes]:
        assert isinstance(event, Delta)
        return [b"data: %d%b\n\n" % (index, event.text.encode())]

    def ping(self) -> bytes:
        return sse.COMMENT

    def failure(self, error: Any) -> list[bytes]:
        return [b"data: failed %b\n\n" % error.message.encode()]

    def end(self) -> list[bytes]:
        return [sse.DONE]


Script = Callable[[], AsyncIterator[list[tuple[int, Event]]]]


async def streamed(script: Script, *, one_by_one: bool = False, ping: float = 0) -> list[bytes]:
    """The HTTP chunks of a stream that follows `script`."""

    async def handler(request: web.Request) -> web.StreamResponse:
        request[REQUEST_ID] = "r1"
        return await sse.respond(request, script(), Plain(one_by_one=one_by_one), ping)  # type: ignore[arg-type]

    runner = web.AppRunner(app := web.Application())
    app.add_routes([web.get("/", handler)])
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        chunks = []
        while size := int(await reader.readline(), 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        writer.close()
        await writer.wait_closed()
        return chunks
    finally:
        await runner.cleanup()


async def together() -> AsyncIterator[list[tuple[int, Event]]]:
    yield [(0, Delta("a")), (1, Delta("b"))]
    yield [(0, Delta("c"))]


async def test_what_has_come_is_one_write() -> None:
    """A batch is an HTTP chunk."""
    assert await streamed(together) == [b"data: 0a\n\ndata: 1b\n\n", b"data: 0c\n\n", sse.DONE]


async def test_each_event_in_a_write_of_its_own() -> None:
    """Where the client's reader needs it."""
    assert await streamed(together, one_by_one=True) == [b"data: 0a\n\n", b"data: 1b\n\n", b"data: 0c\n\n", sse.DONE]


async def test_a_known_error_is_told() -> None:
    """After what came before it; nothing follows."""

    async def script() -> AsyncIterator[list[tuple[int, Event]]]:
        yield [(0, Delta("a"))]
        raise WorkerLost("gone")

    assert await streamed(script) == [b"data: 0a\n\n", b"data: failed gone\n\n"]


async def test_an_unknown_error_tells_only_the_request() -> None:
    """The log has the rest."""

    async def script() -> AsyncIterator[list[tuple[int, Event]]]:
        yield [(0, Delta("a"))]
        raise RuntimeError("secret")

    with structlog.testing.capture_logs() as lines:
        *_, last = await streamed(script)
    assert b"r1" in last
    assert b"secret" not in last
    assert [line["event"] for line in lines] == ["stream failed"]
    assert lines[0]["exc_info"]


async def test_pings_fill_silence_only() -> None:
    """None while events come, several while none do."""

    async def script() -> AsyncIterator[list[tuple[int, Event]]]:
        for _ in range(10):
            await asyncio.sleep(0.02)
            yield [(0, Delta("a"))]
        await asyncio.sleep(0.8)

    chunks = await streamed(script, ping=0.25)
    assert chunks[:10] == [b"data: 0a\n\n"] * 10
    assert 2 <= chunks[10:].count(sse.COMMENT) <= 3
    assert chunks[-1] == sse.DONE
