"""`/slots` and `/slots/{id}`."""

import asyncio

import pytest

from tests.http.conftest import Site, StartSite, sample
from tests.http.likeness import differences, json_of
from velesio.backends.base import ModelSpec
from velesio.errors import Unavailable
from velesio.http.llamacpp.slots import check_free, written
from velesio.jobs import Slots, SlotsResult


def test_a_saved_slot_is_the_sample() -> None:
    """Where it went, and how long that took."""
    answer = written(Slots("save", 0, "a.bin"), SlotsResult(tokens=2, bytes=46880, ms=1.2))
    assert not differences(json_of(answer), sample("slot_save"))


def test_the_other_actions() -> None:
    """Each with its own words."""
    result = SlotsResult(tokens=3, bytes=7, ms=2.0)
    assert written(Slots("restore", 1, "a"), result) == {
        "id_slot": 1,
        "filename": "a",
        "n_restored": 3,
        "n_read": 7,
        "timings": {"restore_ms": 2.0},
    }
    assert written(Slots("erase", 1), result) == {"id_slot": 1, "n_erased": 3}


async def test_slots_are_the_sample(start_site: StartSite) -> None:
    """A list with an object for each."""
    site = await start_site(specs=[ModelSpec(name="two", options={"slots": 2, "context": 2048})])
    assert not differences((await site.get("/slots")).body, sample("slots"))


async def test_a_free_slot_is_found(site: Site) -> None:
    """`fail_on_no_slot` changes nothing then, though another is busy; if all are, there is an error."""
    running = asyncio.create_task(site.post("/completion", {"prompt": "[[sleep 0.02]][[tokens 200]]x"}))
    while not (slots := (await site.get("/slots?fail_on_no_slot=1")).json())[0]["is_processing"]:
        assert not running.done()
    assert [slot["is_processing"] for slot in slots] == [True] + [False] * 7
    running.cancel()
    with pytest.raises(Unavailable, match="no slot"):
        check_free(slots[:1])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/slots/x?action=erase", {}, "id_slot"),
        ("/slots/99999999999?action=erase", {}, "id_slot"),
        ("/slots/0", {}, "action"),
        ("/slots/0?action=sell", {}, "save, restore, erase"),
        ("/slots/0?action=save", {}, "filename"),
        ("/slots/0?action=restore", {"filename": 5}, "filename"),
    ],
)
async def test_mistakes_are_named(site: Site, path: str, body: object, said: str) -> None:
    """400 each."""
    answer = await site.post(path, body)
    assert answer.status == 400
    assert said in answer.json()["error"]["message"]


async def test_a_model_that_caches_nothing_says_so(site: Site) -> None:
    """501, also without a body."""
    assert (await site.post("/slots/0?action=erase", b"")).status == 501
