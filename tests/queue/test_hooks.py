"""Hooks: whoever hangs one on a job is told of its end, whoever else dies meanwhile."""

import pytest

from tests.queue.driver import Driver
from tests.queue.worker import done
from velesio.jobs import Failed, Job, Tokenize
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.hooks import Hooks
from velesio.queue.wire import encode


def hang(driver: Driver, job: str) -> None:
    fields = {"url": "https://example.org", "ten": "a", "model": "m", "created": "1.5", "trace": ""}
    driver.client.hset(driver.keys.hook(job), mapping=fields)


def due(driver: Driver) -> dict[str, dict[str, str]]:
    """Jobs whose hooks are due, with their fields."""
    found = driver.run("tell", driver.now, 10, 5000)
    pairs = {job.decode(): [part.decode(errors="replace") for part in fields] for job, fields in found}
    return {job: dict(zip(fields[::2], fields[1::2], strict=True)) for job, fields in pairs.items()}


def finish(driver: Driver, job: str, state: str = "done", result: bytes = b"r") -> None:
    [taken] = driver.take("w", {"m": 1})
    assert taken.id == job
    driver.run("finish", "w", job, taken.attempt, driver.now, state, result, 0, b"")


def test_an_end_makes_the_hook_due(driver: Driver) -> None:
    """Not before it; and without a hook nothing is ever due."""
    hang(driver, "j1")
    driver.enqueue("j1")
    driver.enqueue("j2")
    assert due(driver) == {}
    finish(driver, "j1")
    finish(driver, "j2")
    told = due(driver)
    assert told.keys() == {"j1"}
    assert (told["j1"]["st"], told["j1"]["number"], told["j1"]["tries"], told["j1"]["r"]) == ("done", "1", "1", "")
    assert int(told["j1"]["end"]) == driver.now


def test_ends_that_no_worker_brings_count_as_well(driver: Driver) -> None:
    """Cancelled while waiting; overdue while waiting."""
    for job in ("j1", "j2"):
        hang(driver, job)
        driver.enqueue(job, ttl=1000)
    driver.run("cancel", "j1", driver.now, "enough")
    driver.now += 2000
    driver.run("sweep", driver.now, 1)
    told = due(driver)
    assert {job: fields["st"] for job, fields in told.items()} == {"j1": "cancelled", "j2": "failed"}


def test_one_gateway_at_a_time_and_another_when_it_dies(driver: Driver) -> None:
    """What one has taken, nobody else gets until its time is over; then the next try is another's."""
    hang(driver, "j1")
    driver.enqueue("j1")
    finish(driver, "j1")
    assert due(driver)["j1"]["tries"] == "1"
    driver.now += 4999
    assert due(driver) == {}
    driver.now += 1
    assert due(driver)["j1"]["tries"] == "2"
    assert driver.run("told", "j1", 1, 1, driver.now, -1) == 0  # the one that was too slow
    assert driver.run("told", "j1", 1, 2, driver.now, -1) == 1
    driver.now += 10_000
    assert due(driver) == {}
    assert not driver.client.exists(driver.keys.hook("j1"))


def test_a_try_that_failed_is_due_later(driver: Driver) -> None:
    """After the pause that its gateway says, not before."""
    hang(driver, "j1")
    driver.enqueue("j1")
    finish(driver, "j1")
    due(driver)
    assert driver.run("told", "j1", 1, 1, driver.now, 60_000) == 1
    driver.now += 59_999
    assert due(driver) == {}
    driver.now += 1
    assert due(driver)["j1"]["tries"] == "2"


def test_a_job_that_is_queued_again_ends_again(driver: Driver) -> None:
    """Its second end is another message; news of the first one's delivery does not touch it."""
    hang(driver, "j1")
    driver.enqueue("j1")
    finish(driver, "j1", "failed")
    first = due(driver)["j1"]
    driver.run("requeue", "j1", driver.now, 1000)
    finish(driver, "j1")
    assert driver.run("told", "j1", first["number"], first["tries"], driver.now, -1) == 0
    second = due(driver)["j1"]
    assert (second["number"], second["tries"], second["st"]) == ("2", "1", "done")


def test_a_hook_lives_as_long_as_its_message(driver: Driver) -> None:
    """Every key has a time to live, and a due message whose hook is gone is struck."""
    hang(driver, "j1")
    driver.enqueue("j1")
    finish(driver, "j1")
    assert driver.client.ttl(driver.keys.hook("j1")) > 86400
    assert driver.client.ttl(f"{driver.root}tell") > 86400
    driver.client.delete(driver.keys.hook("j1"))
    assert due(driver) == {}
    assert not driver.client.exists(f"{driver.root}tell")


@pytest.mark.parametrize(("final", "state"), [(done(), "done"), (Failed("invalid_request", "no"), "failed")])
async def test_messages_say_what_became_of_the_job(broker: Broker, final: object, state: str) -> None:
    """As structs: where, whose, which model, when, and why it failed."""
    hooks, queue = Hooks(broker), JobQueue(broker)
    job = Job.new("m", Tokenize("x"), tenant="t")
    await hooks.hang(job.id, "https://example.org/x", 60, tenant="t", model="m", created=1.5, trace="00-a-b-01")
    await queue.enqueue(job)
    [lease] = (await broker.run("take", "w", 0, 0, 0, 1, "text", "m", 1, 0))[0]
    await broker.run("finish", "w", job.id, lease[1], 0, state, encode(final), 0, b"")
    [message] = await hooks.due(10, 5.0)
    assert (message.job, message.url, message.tenant, message.model) == (job.id, "https://example.org/x", "t", "m")
    assert (message.state, message.number, message.tries, message.trace) == (state, 1, 1, "00-a-b-01")
    assert message.result == (final if state == "failed" else None)
    assert abs(message.ended - message.created) > 1.0
    assert await hooks.told(message)
    assert await hooks.due(10, 5.0) == []
    await hooks.unhang(job.id)
