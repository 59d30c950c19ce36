"""Recordings: the same bytes for every reader, from any place, for a while."""

import asyncio
from typing import Any

import pytest

from tests.queue.worker import serving, until
from velesio.queue.recordings import Lost, Shelf, Size

PIECES = (b"data: one\n\n", b"data: \xc3\xa9\n\n", b":\n\n", b"data: [DONE]\n\n")
WHOLE = b"".join(PIECES)


def shelf(broker: Any, owner: str = "o", *, keep: float = 60.0, longest: int = 1 << 20, most: int = 4) -> Shelf:
    return Shelf(broker, owner, keep=keep, longest=longest, most=most)


async def recorded(kept: Shelf, name: str = "c", pieces: tuple[bytes, ...] = PIECES) -> None:
    recorder = await kept.begin(name, ["j"], "g", 60.0)
    for piece in pieces:
        recorder.write(piece)
    await kept.end(name, recorder)


async def read(kept: Shelf, start: int = 0, name: str = "c") -> bytes:
    recording = await kept.find(name)
    assert recording is not None
    return b"".join([piece async for piece in kept.read(name, recording, start)])


async def test_every_place_can_be_gone_on_from(broker) -> None:
    """Whatever part of the bytes a reader has, it gets exactly the rest."""
    kept = shelf(broker)
    await recorded(kept)
    for start in range(len(WHOLE) + 1):
        assert await read(kept, start) == WHOLE[start:]


async def test_readers_follow_the_writer(broker) -> None:
    """A reader that comes before the first byte, one in the middle, and one at the end hear the same."""
    kept = shelf(broker)
    async with serving(broker):
        recorder = await kept.begin("c", ["j"], "g", 60.0)
        early = asyncio.create_task(read(kept))
        recorder.write(PIECES[0])
        middle = asyncio.create_task(read(kept, len(PIECES[0])))
        await asyncio.sleep(0.05)
        assert not early.done()
        for piece in PIECES[1:]:
            recorder.write(piece)
        await kept.end("c", recorder)
        assert await early == WHOLE
        assert await middle == WHOLE[len(PIECES[0]) :]


async def test_size_tells_how_far_it_is(broker) -> None:
    """Bytes so far, and when it ended."""
    kept = shelf(broker)
    recorder = await kept.begin("c", ["j", "k"], "g", 60.0)
    recording = await kept.find("c")
    assert recording is not None
    assert recording.jobs == ("j", "k")
    assert await kept.size(recording) == Size()
    recorder.write(b"12345")
    await until(recorder._last.done)
    assert await kept.size(recording) == Size(total=5)
    await kept.end("c", recorder)
    size = await kept.size(recording)
    assert (size.total, size.dropped) == (5, 0)
    assert size.ended >= recording.started


async def test_a_long_one_loses_its_beginning(broker) -> None:
    """At least the last `longest` bytes stay; who asks for what is gone is told, as is one who waited too long."""
    kept = shelf(broker, longest=5000)
    await recorded(kept, pieces=tuple(b"%07d\n" % number for number in range(4000)))
    recording = await kept.find("c")
    assert recording is not None
    size = await kept.size(recording)
    assert size.total == 32000
    assert 5000 <= size.total - size.dropped < 15000
    assert (await read(kept, size.dropped))[-8:] == b"0003999\n"
    with pytest.raises(Lost):
        await read(kept, size.dropped - 1)


async def test_a_writer_that_dies_is_noticed(connect) -> None:
    """Its readers do not wait for ever."""
    broker = await connect(lease=1.0, beat=0.2)
    kept = shelf(broker)
    async with serving(broker):
        recorder = await kept.begin("c", [], "g", 60.0)
        recorder.write(b"half")
        reading = asyncio.create_task(read(kept))
        await asyncio.sleep(0.05)
        assert not reading.done()
    await broker.command("DEL", broker.keys.gateway("g"))
    with pytest.raises(Lost):
        await asyncio.wait_for(reading, 10)


async def test_what_is_dropped_stays_so(broker) -> None:
    """Its writer does not bring it back, and its readers end."""
    kept = shelf(broker)
    async with serving(broker):
        recorder = await kept.begin("c", ["j"], "g", 60.0)
        recorder.write(b"half")
        reading = asyncio.create_task(read(kept))
        await asyncio.sleep(0.05)
        dropped = await kept.drop("c")
        assert dropped is not None
        assert dropped.jobs == ("j",)
        recorder.write(b"more")
        await kept.end("c", recorder)
        assert await broker.command("EXISTS", recorder.key) == 0
        with pytest.raises(Lost):
            await asyncio.wait_for(reading, 10)
        assert await kept.find("c") is None
        assert await kept.drop("c") is None


async def test_owners_are_apart_and_bounded(broker) -> None:
    """Nobody finds another's; the oldest of more than `most` goes."""
    kept = shelf(broker, most=2)
    for name in ("a", "b", "c"):
        await recorded(kept, name)
    await recorded(shelf(broker, "other"), "a")
    assert await kept.names() == ["b", "c"]
    assert await kept.find("a") is None
    assert await read(kept, name="b") == WHOLE


async def test_one_that_says_nothing_leaves_nothing(broker) -> None:
    """A request that failed before it streamed is not found afterwards."""
    kept = shelf(broker)
    recorder = await kept.begin("c", ["j"], "g", 60.0)
    await kept.end("c", recorder)
    assert await kept.find("c") is None


async def test_a_piece_that_cannot_be_written_is_a_gap(broker) -> None:
    """Readers get what there is, and then know that something is missing."""
    kept = shelf(broker)
    recorder = await kept.begin("c", ["j"], "g", 60.0)
    recorder.write(b"first")
    key, recorder.key = recorder.key, "not{vel}:here"
    await broker.command("SET", recorder.key, "a string", "EX", 60)
    recorder.write(b"fails")
    await until(recorder._last.done)
    recorder.key = key
    recorder.write(b"given up")
    await kept.end("c", recorder)
    got = b""
    recording = await kept.find("c")
    assert recording is not None
    try:
        async for piece in kept.read("c", recording, 0):
            got += piece
    except Lost:
        got += b" and a gap"
    assert got == b"first and a gap"


async def test_everything_expires(broker) -> None:
    """An unfinished one after its answer's time, a finished one after `keep`."""
    kept = shelf(broker, keep=60.0)
    recorder = await kept.begin("c", ["j"], "g", 100.0)
    recorder.write(b"x")
    await until(recorder._last.done)
    assert 60 < await broker.command("TTL", recorder.key) <= 220
    await kept.end("c", recorder)
    assert 0 < await broker.command("TTL", recorder.key) <= 60
    assert 0 < await broker.command("TTL", kept._place("c")) <= 60
