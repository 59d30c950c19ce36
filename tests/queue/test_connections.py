"""Addresses."""

import pytest

from velesio.errors import ConfigError
from velesio.queue.connections import Address


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
