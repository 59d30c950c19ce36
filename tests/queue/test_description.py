"""A worker's description."""

import msgspec

from tests.queue.worker import CARD
from velesio.queue.description import Description
from velesio.queue.registry import WorkerInfo


def test_a_worker_is_described_anew_each_time() -> None:
    """Its state, its jobs and its own part are those of the moment."""
    described = Description("w.1", "w")
    described.own = lambda: {"loaded": ["m"]}
    cards, info = described.encode([CARD], ["j"], quiet=True)
    assert [card["name"] for card in msgspec.msgpack.decode(cards)] == ["m"]
    found = msgspec.msgpack.decode(info, type=WorkerInfo)
    assert (found.id, found.name, found.state, found.jobs, found.slots) == ("w.1", "w", "quiet", ["j"], 4)
    assert found.info == {"loaded": ["m"]}
    assert msgspec.msgpack.decode(described.encode([], [], quiet=False)[1], type=WorkerInfo).state == "ready"


def test_a_worker_that_cannot_describe_itself_still_beats() -> None:
    """Its leases are renewed by the same message, so there always is one."""
    described = Description("w.1", "w")
    described.own = lambda: 1 / 0
    found = msgspec.msgpack.decode(described.encode([CARD], ["j"], quiet=False)[1], type=WorkerInfo)
    assert (found.jobs, found.info) == (["j"], {})
