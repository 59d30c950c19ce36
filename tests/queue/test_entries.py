"""Tables of entries: each change is one step, is told, and loses nothing that somebody else has done."""

import msgspec
import pytest

from velesio.errors import Conflict, Unreadable
from velesio.queue import entries
from velesio.queue.broker import Broker
from velesio.queue.entries import Table, difference


class Room(msgspec.Struct, frozen=True):
    """An entry."""

    seats: int = 0
    colour: str = ""


def told(room: Room) -> dict[str, object]:
    return msgspec.structs.asdict(room)


class Rooms(Table[Room]):
    """The table of the tests, which lies where tenants do: only such tables may stay for ever."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, "tenants", Room)

    async def put(self, name: str, room: Room | None) -> Room | None:
        return await self.alter(name, lambda _: room, actor="me", action="put", told=told)


@pytest.fixture
def rooms(broker: Broker) -> Rooms:
    return Rooms(broker)


async def test_an_entry_is_what_was_put_there(rooms: Rooms) -> None:
    """By itself and among all; None takes it away."""
    assert await rooms.put("a", Room(3)) == Room(3)
    await rooms.put("b", Room(4))
    assert await rooms.find("a") == Room(3)
    assert await rooms.all() == {"a": Room(3), "b": Room(4)}
    assert await rooms.put("a", None) is None
    assert await rooms.find("a") is None
    assert await rooms.all() == {"b": Room(4)}


async def test_a_change_is_made_of_what_is_there(rooms: Rooms) -> None:
    """If somebody else was quicker it is made again, of what they have left."""
    seen: list[Room | None] = []
    await rooms.put("a", Room(1))

    async def meanwhile() -> None:
        await rooms.put("a", Room(10))

    real = rooms._broker.run

    async def overtaken(*arguments: object, **options: object) -> object:
        if len(seen) == 1:
            rooms._broker.run = real
            await meanwhile()
        return await real(*arguments, **options)

    def grow(room: Room | None) -> Room:
        seen.append(room)
        return Room(room.seats + 1 if room else 1)

    rooms._broker.run = overtaken
    assert await rooms.alter("a", grow, actor="me", action="grow", told=told) == Room(11)
    assert seen == [Room(1), Room(10)]


async def test_a_change_that_never_gets_its_turn_is_refused(rooms: Rooms) -> None:
    """Not tried for ever."""
    tries = 0

    async def busy(*_arguments: object, **_options: object) -> bytes:
        nonlocal tries
        tries += 1
        return b"CHANGED"

    rooms._broker.run = busy
    with pytest.raises(Conflict, match="a is being changed by somebody else all the time"):
        await rooms.put("a", Room(1))
    assert tries == 20


async def test_a_full_table_takes_no_more(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there can still be changed."""
    monkeypatch.setattr(entries, "_MOST", 2)
    await rooms.put("a", Room(1))
    await rooms.put("b", Room(1))
    with pytest.raises(Conflict, match="there are 2 tenants already; remove some first"):
        await rooms.put("c", Room(1))
    assert await rooms.put("a", Room(2)) == Room(2)


async def test_what_a_newer_release_has_written_stays(rooms: Rooms) -> None:
    """It is left out of the list, is no entry of this release, and nobody writes over it."""
    await rooms.put("a", Room(1))
    await rooms._broker.command("HSET", rooms._key, "new", msgspec.msgpack.encode({"seats": "many"}))
    assert await rooms.all() == {"a": Room(1)}
    with pytest.raises(Unreadable):
        await rooms.find("new")
    with pytest.raises(Unreadable):
        await rooms.put("new", Room(1))
    assert rooms.read({b"\xff": b"", b"b": msgspec.msgpack.encode(Room(2))}) == {"b": Room(2)}


def test_a_difference_names_what_differs() -> None:
    """Of an entry that is new or gone, everything."""
    assert difference(Room(1, "red"), Room(2, "red"), told) == {"seats": [1, 2]}
    assert difference(None, Room(2, "red"), told) == {"seats": [None, 2], "colour": [None, "red"]}
    assert difference(Room(2, ""), None, told) == {"seats": [2, None], "colour": ["", None]}
    assert difference(Room(2), Room(2), told) == {}
