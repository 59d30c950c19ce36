"""One connection: answers in their order, and what becomes of commands when it fails."""

import asyncio

import pytest
import redis

from tests.queue.proxy import Proxy
from velesio.queue.connections import Address
from velesio.queue.line import OUTAGES, Line, pack


def _heard(line: Line, *commands: bytes) -> "asyncio.Future[object]":
    future = asyncio.get_running_loop().create_future()
    line.send(commands, future.set_result)
    return future


async def test_answers_come_in_the_order_of_their_commands(valkey_url: str) -> None:
    """Also when several are under way, and when an answer comes in many pieces; an error is an answer."""
    line = Address(valkey_url).commands()
    await line.connect()
    large = b"x" * 3_000_000
    first = _heard(line, pack(("ECHO", large)), pack(("ECHO", "b")))
    second = _heard(line, pack(("NONSENSE",)))
    third = _heard(line, pack(("ECHO", "c")))
    assert await first == [large, b"b"]
    [error] = await second
    assert isinstance(error, redis.exceptions.ResponseError)
    assert await third == [b"c"]
    await line.close()


async def test_false_and_nothing_are_answers(valkey_url: str) -> None:
    """The protocol's false is not taken for an answer that has not come yet."""
    line = Address(valkey_url).commands()
    assert await line.ask("DEBUG", "PROTOCOL", "false") is False
    assert await line.ask("GET", "nothing") is None
    await line.close()


async def test_a_lost_connection_is_told_and_made_anew(valkey_url: str) -> None:
    """Everybody who waits for an answer hears of it once; the next command finds a new connection."""
    async with Proxy(valkey_url) as proxy:
        line = Address(proxy.url).commands()
        assert await line.ask("ECHO", "a") == b"a"
        proxy.stalled = True
        waiting = [_heard(line, pack(("ECHO", "b"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        proxy.drop()
        proxy.stalled = False
        found = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert all(isinstance(error, OUTAGES) for error in found)
        assert not line.up
        assert await line.ask("ECHO", "c") == b"c"
        await line.close()


async def test_a_silent_server_is_given_up(valkey_url: str) -> None:
    """After the line's patience, not before; an idle connection is left alone for as long as it likes."""
    async with Proxy(valkey_url) as proxy:
        line = Address(proxy.url, timeout=0.3).commands()
        assert await line.ask("ECHO", "a") == b"a"
        await asyncio.sleep(0.5)
        assert line.up
        proxy.stalled = True
        began = asyncio.get_running_loop().time()
        with pytest.raises(redis.exceptions.TimeoutError):
            await line.ask("ECHO", "b")
        assert 0.25 <= asyncio.get_running_loop().time() - began < 2
        proxy.stalled = False
        await line.close()


async def test_a_line_answers_in_order_after_a_cancelled_command(valkey_url: str) -> None:
    """The answer to a command that nobody waits for any more is never taken for the next one's."""
    line = Address(valkey_url).blocking(5)
    for _ in range(5):
        task = asyncio.create_task(line.ask("BLPOP", "nothing", 5))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert await line.ask("ECHO", "mine") == b"mine"
    await line.close()


async def test_what_is_no_server_of_this_kind_is_given_up() -> None:
    """Bytes that are no answer end the connection instead of being waited for."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"+OK\r\n" if line.startswith(b"*") and not asked.is_set() else b"")
            if asked.is_set():
                writer.write(b"?what\r\n")
        writer.close()

    asked = asyncio.Event()
    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    line = Address(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}").commands()
    await line.connect()
    asked.set()
    with pytest.raises(redis.exceptions.InvalidResponse):
        await line.ask("PING")
    await line.close()
    server.close()


def test_commands_are_packed_as_the_server_reads_them() -> None:
    """Lengths count bytes."""
    assert pack(("SET", "ü", b"\x00", 5, 0.5)) == (
        b"*5\r\n$3\r\nSET\r\n$2\r\n\xc3\xbc\r\n$1\r\n\x00\r\n$1\r\n5\r\n$3\r\n0.5\r\n"
    )
