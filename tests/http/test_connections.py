"""Connections: who sends or reads nothing loses his."""

import asyncio
import socket

from aiohttp import web

from velesio.http.connections import Patience, Runner


async def connected(patience: Patience) -> tuple[Runner, int, asyncio.Event]:
    """A server of one page that is longer than any buffer; the event is set when its handler has ended."""
    ended = asyncio.Event()

    async def page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(400):
                await response.write(b"x" * 65536)
        finally:
            ended.set()
        return response

    app = web.Application()
    app.add_routes([web.get("/", page)])
    runner = Runner(app, patience=patience, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1], ended


async def test_who_reads_nothing_loses_the_connection() -> None:
    """And the handler that writes to it ends: it holds neither memory nor a place."""
    runner, port, ended = await connected(Patience(head=5.0, reading=0.3))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(5):
        await ended.wait()
    client.close()
    await runner.cleanup()


async def test_who_reads_slowly_is_served_to_the_end() -> None:
    """Any progress will do."""
    runner, port, _ = await connected(Patience(head=5.0, reading=2.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    read = 0
    while block := await reader.read(1 << 20):
        read += len(block)
        await asyncio.sleep(0.01)
    assert read > 400 * 65536
    writer.close()
    await runner.cleanup()


async def test_who_does_not_end_a_head_is_told_so() -> None:
    """408, and the connection is closed."""
    runner, port, _ = await connected(Patience(head=0.2, reading=5.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await runner.cleanup()
