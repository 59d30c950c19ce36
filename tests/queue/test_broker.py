"""Calls of the broker, and what happens to them when it fails."""

import asyncio
import time

import pytest

from tests.queue.proxy import Proxy
from velesio.config import QueueSection, RedisSection
from velesio.errors import BrokerUnavailable, ConfigError, QueueFull, VelesioError
from velesio.queue.broker import Broker


async def test_calls_made_together_all_get_their_answers(broker) -> None:
    """Hundreds of calls at once are answered each with its own answer."""
    answers = await asyncio.gather(*[broker.command("ECHO", f"{number}") for number in range(500)])
    assert answers == [b"%d" % number for number in range(500)]


async def test_an_error_answer_belongs_to_its_call(broker) -> None:
    """A refused command fails alone."""
    good, bad, other = (broker.command("ECHO", "1"), broker.command("NONSENSE"), broker.command("ECHO", "2"))
    assert (await good, await other) == (b"1", b"2")
    with pytest.raises(VelesioError, match="NONSENSE"):
        await bad


async def test_an_abandoned_call_disturbs_nobody(broker) -> None:
    """Cancelling one caller leaves the others their answers."""
    calls = [asyncio.ensure_future(broker.command("ECHO", f"{number}")) for number in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    assert await asyncio.gather(*calls[1::2]) == [b"1", b"3", b"5", b"7", b"9"]


async def test_scripts_come_back_after_the_server_forgot_them(broker) -> None:
    """A restart or failover empties the script cache; calls in the same moment all succeed."""
    await broker.command("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*[broker.run("status", 0) for _ in range(5)], broker.command("ECHO", "x"))
    assert answers == [[0, 0, 0]] * 5 + [b"x"]


async def test_memory_errors_are_a_full_queue(broker) -> None:
    """The server's refusal to write becomes QueueFull."""
    await broker.command("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(QueueFull):
            await broker.command("SET", "x", "y" * 100)
    finally:
        await broker.command("CONFIG", "SET", "maxmemory", "512mb")


async def test_an_evicting_server_is_refused(broker, valkey_url) -> None:
    """A server that drops keys would lose jobs; the message has the command that mends it."""
    await broker.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match="CONFIG SET maxmemory-policy noeviction"):
            await Broker.connect(RedisSection(url=valkey_url), QueueSection())
    finally:
        await broker.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_managed_server_is_checked_too(broker, valkey_url) -> None:
    """Where CONFIG is forbidden, the policy is read from INFO."""
    await broker.command("ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config")
    url = valkey_url.replace("unix://", "unix://managed:secret@")
    await broker.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    try:
        with pytest.raises(ConfigError, match="volatile-ttl"):
            await Broker.connect(RedisSection(url=url), QueueSection())
        await broker.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        other = await Broker.connect(RedisSection(url=url), QueueSection())
        assert await other.ping()
        await other.close()
    finally:
        await broker.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await broker.command("ACL", "DELUSER", "managed")


async def test_a_wrong_password_is_a_configuration_error(broker, valkey_url) -> None:
    """The message names the option, not the password."""
    await broker.command("ACL", "SETUSER", "locked", "on", ">secret", "~*", "&*", "+@all")
    url = valkey_url.replace("unix://", "unix://locked:wrong@")
    try:
        with pytest.raises(ConfigError, match=r"redis\.password") as refused:
            await Broker.connect(RedisSection(url=url, timeout=0.2), QueueSection())
        assert "wrong@" not in str(refused.value)
    finally:
        await broker.command("ACL", "DELUSER", "locked")


@pytest.mark.parametrize("version", ["6.2.14", "5.0"])
async def test_an_old_server_is_refused(broker, valkey_url, monkeypatch, version) -> None:
    """Servers before 7.0 lack what the scripts need."""
    real = Broker.command

    def pretend(self, *arguments, **options):
        answer = real(self, *arguments, **options)
        if arguments[:2] != ("INFO", "server"):
            return answer

        async def old():
            return (await answer).replace(b"redis_version:", b"was:") + f"redis_version:{version}\r\n".encode()

        return old()

    monkeypatch.setattr(Broker, "command", pretend)
    with pytest.raises(ConfigError, match=version):
        await Broker.connect(RedisSection(url=valkey_url), QueueSection())


async def test_nobody_there_is_told_soon() -> None:
    """Connecting to nothing fails within the timeout, naming the address without its password."""
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"redis://127\.0\.0\.1:1\b"):
        await Broker.connect(RedisSection(url="redis://:hidden@127.0.0.1:1", timeout=0.3), QueueSection())
    assert time.monotonic() - began < 2


async def test_a_short_cut_is_not_noticed(broker, valkey_url) -> None:
    """Calls that may run twice are sent again on a new connection."""
    async with Proxy(valkey_url) as proxy:
        remote = await Broker.connect(RedisSection(url=proxy.url), QueueSection())
        for _ in range(5):
            call = asyncio.ensure_future(remote.run("status", 0))
            await asyncio.sleep(0)
            proxy.drop()
            assert await call == [0, 0, 0]
        await remote.close()


async def test_what_may_not_run_twice_is_not_sent_twice(broker, valkey_url) -> None:
    """After a lost answer such a call fails, though it may have run."""
    async with Proxy(valkey_url) as proxy:
        remote = await Broker.connect(RedisSection(url=proxy.url, timeout=0.3), QueueSection())
        proxy.swallow = True
        with pytest.raises(BrokerUnavailable):
            await remote.command("INCR", "count", retry=False)
        proxy.swallow = False
        assert await remote.ping()
        assert await broker.command("GETDEL", "count") == b"1"
        await remote.close()


async def test_a_silent_server_fails_every_call_in_time(broker, valkey_url) -> None:
    """Calls before and after the server fell silent fail within about the timeout, and work again when it speaks."""
    async with Proxy(valkey_url) as proxy:
        remote = await Broker.connect(RedisSection(url=proxy.url, timeout=0.4), QueueSection())
        proxy.stalled = True
        began = time.monotonic()
        first = asyncio.ensure_future(remote.run("status", 0))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(remote.run("status", 0))
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(result, BrokerUnavailable) for result in results)
        assert time.monotonic() - began < 1.5
        assert not await remote.ping()
        proxy.stalled = False
        assert await remote.ping()
        await remote.close()


async def test_closing_fails_what_is_under_way(broker, valkey_url) -> None:
    """Nobody waits for a broker that is closed."""
    async with Proxy(valkey_url) as proxy:
        remote = await Broker.connect(RedisSection(url=proxy.url, timeout=5), QueueSection())
        proxy.stalled = True
        calls = [asyncio.ensure_future(remote.run("status", 0))]
        await asyncio.sleep(0.05)
        calls.append(asyncio.ensure_future(remote.run("status", 0)))
        await asyncio.sleep(0)
        await remote.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, BrokerUnavailable) for result in results)
        with pytest.raises(BrokerUnavailable):
            await remote.command("PING")
        proxy.stalled = False
