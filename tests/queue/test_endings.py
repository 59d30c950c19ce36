"""What the end of an attempt means."""

import pytest

from tests.queue.worker import done, text
from velesio.jobs import Cancelled, Failed, Final
from velesio.queue import endings
from velesio.queue.blobs import Parcel
from velesio.queue.lease import DEADLINE, Lease

RETRY, FAULT, REFUSED = Failed("job_failed", "a", retry=True), Failed("job_failed", "a"), Failed("invalid_request", "a")


@pytest.mark.parametrize(
    ("final", "ending", "script", "state", "dead"),
    [
        (done(), "", "finish", "done", 0),
        (Cancelled("x"), "", "finish", "cancelled", 0),
        (REFUSED, "", "finish", "failed", 0),
        (FAULT, "", "finish", "failed", 1),
        (RETRY, "", "retry", None, None),
        (RETRY, "cancelled", "finish", "failed", 1),
    ],
)
def test_each_end_has_its_script(final: Final, ending: str, script: str, state: str | None, dead: int | None) -> None:
    """Only what may pass and was not told to end gets another attempt; only our faults become dead letters."""
    lease = Lease(text(), 1, ending=ending)
    name, arguments = endings.script(lease, final, Parcel(b"body", b"blob"), b"message", 2.0)
    assert name == script
    if script == "retry":
        assert 1000 <= arguments[1] <= 2000
        assert arguments[2:] == (b"body", b"message")
    else:
        assert arguments == (0, state, b"body", dead, b"message", b"blob", "", "0 0 0 0 0")


def test_an_abort_is_told_as_it_was_meant() -> None:
    """Overdue is a failure; a cancellation has the reason that the worker was given."""
    assert endings.as_meant(Lease(text(), 1, ending=DEADLINE), Cancelled()).code == "deadline_exceeded"
    assert endings.as_meant(Lease(text(), 1, ending="gone"), Cancelled()) == Cancelled("gone")
    assert endings.as_meant(Lease(text(), 1, ending="gone"), Cancelled("own")) == Cancelled("own")
    assert endings.as_meant(Lease(text(), 1), Cancelled()) == Cancelled()
    assert endings.as_meant(Lease(text(), 1, ending=DEADLINE), done()) == done()
