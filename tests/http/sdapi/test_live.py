"""Requests for pictures under way: how far they are, and who sees them."""

import pytest

from velesio.errors import Conflict
from velesio.http.sdapi import live as module
from velesio.http.sdapi.live import Live, Running
from velesio.http.sdapi.progress import Query, described, told
from velesio.jobs import Image, Job, Preview, Progress, Started

ME, OTHER = ("tenant", "me"), ("tenant", "other")


def running(task: str = "task", rounds: int = 2) -> Running:
    return Running(task, [Job.new("m", Image("x")) for _ in range(rounds)], steps=10)


def test_progress_is_the_mean_of_the_rounds() -> None:
    """From 0.01 when a worker begins up to 1; what is over counts whole."""
    request = running()
    assert (request.begun, request.progress, request.eta) == (False, 0.0, 0.0)
    request.rounds[0].see(Started())
    assert request.progress == 0.01
    request.rounds[0].see(Progress(5, 10))
    assert request.progress == pytest.approx(0.26)
    request.rounds[0].over = True
    request.rounds[1].see(Preview(b"picture", 0, 8, 10))
    assert request.progress == pytest.approx(0.91)
    assert request.eta > 0
    request.rounds[1].over = True
    assert request.progress == 1.0


def test_what_is_told() -> None:
    """The preview is that of the job that is computed; it can be left out."""
    request = running()
    request.rounds[0].over = True
    request.rounds[1].see(Preview(b"picture", 0, 4, 10))
    answer = told(request, picture=True)
    assert answer["current_image"] == "cGljdHVyZQ=="
    state = answer["state"]
    assert (state["job_count"], state["job_no"], state["sampling_step"], state["sampling_steps"]) == (2, 1, 4, 10)
    assert told(request, picture=False)["current_image"] is None
    assert told(None, picture=True)["state"]["job_count"] == 0


def test_a_preview_is_sent_once() -> None:
    """A client that has it already gets none."""
    request = running(rounds=1)
    assert described(request, Query("task"), completed=False, place="3/5")["textinfo"] == "In queue: 3/5"
    request.rounds[0].see(Preview(b"\xff\xd8picture", 0, 4, 10))
    first = described(request, Query("task"), completed=False)
    assert first["live_preview"].startswith("data:image/jpeg;base64,")
    assert first["id_live_preview"] == 4
    again = described(request, Query("task", id_live_preview=4), completed=False)
    assert (again["live_preview"], again["id_live_preview"]) == (None, 4)
    unwanted = described(request, Query("task", live_preview=False), completed=False)
    assert unwanted["live_preview"] is None


def test_stopping_marks_what_goes_on() -> None:
    """All rounds, or the first that is not over."""
    request = running(rounds=3)
    request.rounds[0].over = True
    assert request.stop(all_rounds=False) == [request.rounds[1].job_id]
    assert request.stop(all_rounds=True) == [each.job_id for each in request.rounds[1:]]
    assert not request.rounds[0].stopped
    assert request.skipped
    assert request.interrupted


def test_each_owner_sees_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are each owner's; ended ones are remembered, up to a number."""
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    live, first = Live(), running("same")
    with live.following(ME, first), live.following(OTHER, running("same")):
        assert live.of(ME) == [first]
        assert live.of(ME, "else") == []
        with pytest.raises(Conflict), live.following(ME, running("same")):
            pass
    assert live.of(ME) == []
    assert live.ended(ME, "same")
    for number in range(2):
        with live.following(ME, running(str(number))):
            pass
    assert not live.ended(ME, "same")
    assert live.ended(ME, "1")
