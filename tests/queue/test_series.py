"""What workers measure, as every gateway reads it."""

import pytest

from tests.queue.worker import done, text, working
from velesio.jobs import Completed, Failed, ImageResult, TextResult, Timings, Usage
from velesio.queue.client import JobQueue
from velesio.queue.lease import Lease
from velesio.queue.overview import look
from velesio.queue.series import Meter, Point, Times, bin_of, middle_of, note_first_text, point


@pytest.mark.parametrize("seconds", [0.002, 0.05, 0.3, 1.0, 7.5, 600.0])
def test_a_bin_knows_the_time_to_a_tenth(seconds: float) -> None:
    """What is put into a histogram comes out as it was, about."""
    assert middle_of(bin_of(seconds)) == pytest.approx(seconds * 1000, rel=0.1)


def test_times_below_a_millisecond_are_one() -> None:
    """The first bin has no lower end."""
    assert (bin_of(0.0), bin_of(-1.0), middle_of(0)) == (0, 0, 1.0)


def test_a_point_is_the_sum_of_its_spans() -> None:
    """Rates by its seconds; times as quantiles of all that were counted; of one model, if one is named."""
    spans = [
        {"done a": 3, "tokens a": 100, "took.40 a": 3},
        {"done b": 1, "failed b": 2, "tokens b": 20, "pictures b": 2, "took.60 b": 1},
    ]
    whole = point(100, spans, seconds=20)
    assert (whole.at, whole.done, whole.failed, whole.tokens_per_s, whole.images_per_min) == (100, 4, 2, 6.0, 6.0)
    assert whole.latency_ms == Times(round(middle_of(40), 1), round(middle_of(60), 1))
    assert whole.first_token_ms is None
    assert point(0, spans, model="b") == Point(
        at=0, done=1, failed=2, tokens_per_s=2.0, images_per_min=12.0, latency_ms=Times(*[round(middle_of(60), 1)] * 2)
    )
    assert point(0, spans, model="c") == Point(at=0)


def test_the_first_text_of_a_whole_answer_follows_from_its_timings() -> None:
    """Nobody saw it come; one without tokens had none."""
    lease = Lease(text(), 1)
    lease.began -= 10
    note_first_text(lease, Completed(TextResult("", usage=Usage(1, 0))))
    assert lease.silence == ""
    note_first_text(lease, Completed(TextResult("ab", usage=Usage(1, 2), timings=Timings(100, 4000))))
    assert lease.silence == pytest.approx(6000, abs=100)


async def test_what_two_workers_measure_is_one_series(broker) -> None:
    """Tokens count as they come, the rest of an answer at its end, and nothing twice."""
    meters = [Meter(broker), Meter(broker)]
    lease, other = Lease(text(), 1, waited=0.5), Lease(text(), 1)
    meters[0].said(lease, 3)
    await meters[0].tell()
    meters[0].ended(lease, Completed(TextResult("", usage=Usage(4, 5))))
    meters[1].ended(other, Completed(ImageResult((b"", b""))))
    meters[1].ended(other, Failed("job_failed", ""))
    for meter in meters:
        await meter.close()
    found = await look(broker, 1, 2)
    total = point(0, found.spans.values(), seconds=10)
    assert (total.done, total.failed, total.tokens_per_s, total.images_per_min) == (2, 1, 0.5, 12.0)
    assert total.first_token_ms.p50 == total.waited_ms.p95 == pytest.approx(500, rel=0.1)
    assert total.waited_ms.p50 == 1.0


async def test_settled_jobs_are_in_the_series(broker) -> None:
    """Without anybody having to ask for it."""
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(text())
        await worker.leases.settle(await worker.one(), done())
        await worker.leases.meter.tell()
    found = await look(broker, 1, 2)
    assert point(0, found.spans.values()).done == 1
