"""Addresses, and the one connection behind them."""

import asyncio

import pytest

from velesio.errors import ConfigError
from velesio.queue.connections import Address, pack


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("redis://user:secret@host:1/2", "redis://host:1"),
        ("rediss://host", "rediss://host"),
        ("unix://user:secret@/tmp/x.sock", "unix:///tmp/x.sock"),
        ("redis+sentinel://user:secret@a:1,b:2/main/3", "redis+sentinel://a:1,b:2"),
    ],
)
def test_what_is_shown_has_no_credentials(url: str, public: str) -> None:
    """Messages and logs name the place only."""
    assert Address(url).public == public


@pytest.mark.parametrize("url", ["http://host", "host:6379", "redis+sentinel://host:1", "redis+sentinel:///main"])
def test_unknown_addresses_are_refused(url: str) -> None:
    """The message says which forms there are, without giving a password away."""
    with pytest.raises(ConfigError, match="redis"):
        Address(url)


async def test_sentinels_are_asked_for_the_master() -> None:
    """A sentinel address becomes a pool that looks its master up at each connection."""
    line = Address("redis+sentinel://u:p%40ss@a:1,b,[::1]:3/main/4?sentinel_password=s").commands()
    pool = line._client.connection_pool
    assert pool.service_name == "main"
    assert {"db": 4, "username": "u", "password": "p@ss", "protocol": 3}.items() <= pool.connection_kwargs.items()
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in sentinels] == [
        ("a", 1, "s"), ("b", 26379, "s"), ("::1", 3, "s"),
    ]  # fmt: skip
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


def test_commands_are_packed_as_the_server_reads_them() -> None:
    """Lengths count bytes."""
    assert pack(("SET", "ü", b"\x00", 5, 0.5)) == (
        b"*5\r\n$3\r\nSET\r\n$2\r\n\xc3\xbc\r\n$1\r\n\x00\r\n$1\r\n5\r\n$3\r\n0.5\r\n"
    )
