"""Every script in every state of a job."""

import time

import msgspec
import pytest
import redis

from tests.queue.driver import DAY, Driver
from velesio.jobs import Cancelled, Failed
from velesio.queue import wire


def drained(driver: Driver) -> None:
    """Nothing waits, runs or is counted."""
    names = {key.decode().removeprefix(driver.root).split(":")[0] for key in driver.client.scan_iter()}
    assert not names & {"w", "sched", "cnt", "wake"}
    for key in driver.client.scan_iter(f"{driver.root}f:*"):
        assert driver.client.xlen(key) == 0
    assert driver.client.zcard(f"{driver.root}dl") == 0
    assert not [key for key in driver.client.scan_iter() if driver.client.ttl(key) == -1]


def test_a_job_goes_through_the_queue(driver: Driver) -> None:
    """Enqueue, take, finish: queued, running, done; nothing stays but the record."""
    assert driver.enqueue("j") == "OK"
    assert driver.state("j") == "q"
    [lease] = driver.take()
    assert (lease.id, lease.attempt, lease.crashes) == ("j", 1, 0)
    assert (driver.state("j"), driver.field("j", "wrk")) == ("r", "w")
    assert driver.finish(lease) == "OK"
    assert (driver.state("j"), driver.field("j", "r"), driver.field("j", "p")) == ("done", "result", "")
    drained(driver)


def test_take_gives_each_model_its_room(driver: Driver) -> None:
    """One call leases for several models, never more than the room of each, and says where jobs are left."""
    for number in range(5):
        driver.enqueue(f"a{number}", model="a")
        driver.enqueue(f"b{number}", model="b")
    taken = driver.take(room={"a": 2, "b": 5, "c": 1})
    assert sorted(lease.id for lease in taken) == ["a0", "a1", "b0", "b1", "b2", "b3", "b4"]
    assert driver.more == ["text:a"]


def test_the_same_job_is_queued_once(driver: Driver) -> None:
    """A second enqueue of the same id is DUP in every state, and changes nothing."""
    driver.enqueue("j")
    assert driver.enqueue("j") == "DUP"
    [lease] = driver.take()
    assert driver.enqueue("j") == "DUP"
    driver.finish(lease)
    assert driver.enqueue("j") == "DUP"
    assert driver.take() == []
    drained(driver)


def test_an_idempotency_key_names_one_request(driver: Driver) -> None:
    """The same key and request give the earlier job, another request a conflict, another tenant its own job."""
    assert driver.enqueue("j1", idempotency="k", fingerprint="f one") == "OK"
    assert driver.enqueue("j2", idempotency="k", fingerprint="f one") == "IDEM"
    assert driver.answer[1:4] == [b"j1", 0, -1]
    assert driver.enqueue("j3", idempotency="k", fingerprint="f two") == "CONFLICT"
    assert driver.enqueue("j4", idempotency="k", fingerprint="f two", tenant="b") == "OK"
    assert driver.state("j2") == driver.state("j3") == ""


def test_caps_refuse_without_a_trace(make_driver) -> None:
    """A full queue refuses everybody, a tenant at its cap only that tenant; refusal charges nothing."""
    driver = make_driver(cap=3, tenant_cap=2)
    assert [driver.enqueue(f"a{number}") for number in range(3)] == ["OK", "OK", "TENANT"]
    assert driver.enqueue("b0", tenant="b") == "OK"
    assert driver.enqueue("c0", tenant="c") == "FULL"
    assert driver.answer[2] == 3
    assert driver.enqueue("c0", tenant="c", model="other") == "OK"
    assert driver.state("a2") == ""
    driver.take()
    assert driver.enqueue("b1", tenant="b") == "OK"


def test_little_memory_refuses_new_jobs_only(make_driver, client) -> None:
    """Above the reserve nothing new is queued, while what is queued still gets done."""
    driver = make_driver(memory_reserve=0.999)
    driver.enqueue("before")  # the check is made at once, its answer holds for 200 ms
    client.delete(f"{driver.root}mem")
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", "100mb")
    try:
        assert driver.enqueue("after") == "MEMORY"
    finally:
        client.config_set("maxmemory", before)


def test_out_of_memory_work_still_ends(driver: Driver, client) -> None:
    """When the server refuses writes, enqueue fails whole, and take, finish, cancel, retry and release still work."""
    for name in ("j1", "j2", "j3", "j4", "j5"):
        driver.enqueue(name)
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            driver.enqueue("j6")
        one, two, three = driver.take(room=3)
        assert driver.finish(one) == "OK"
        assert driver.retry(two) == "RETRY"
        assert driver.release(three) == "OK"
        assert driver.cancel("j4") == "ENDED"
        driver.sweep()
    finally:
        client.config_set("maxmemory", before)
    assert driver.state("j6") == ""


def test_positions_count_the_jobs_ahead(driver: Driver) -> None:
    """The position is the number of waiting jobs that are served before, by priority and share."""
    positions = []
    for number, priority in enumerate([1, 1, 2, 0]):
        driver.enqueue(f"j{number}", priority=priority)
        positions.append(driver.answer[2])
    assert positions == [0, 1, 2, 0]


def test_a_delayed_job_is_due_later(driver: Driver) -> None:
    """A scheduled job cannot be taken before its time, be that a millisecond, and wakes a worker then."""
    driver.enqueue("j", delay=1)
    assert (driver.state("j"), driver.take()) == ("s", [])
    driver.now += 1
    driver.sweep()
    assert driver.client.llen(f"{driver.root}wake:text:m") == 1
    [lease] = driver.take()
    driver.finish(lease)
    drained(driver)


def test_only_the_holder_ends_a_job(driver: Driver) -> None:
    """Finish, retry and release from another worker or an earlier attempt are STALE and change nothing."""
    driver.enqueue("j")
    [lease] = driver.take()
    late = lease._replace(attempt=0)
    for stranger in ({"owner": "x", "lease": lease}, {"owner": "w", "lease": late}):
        assert driver.finish(**stranger) == driver.retry(**stranger) == driver.release(**stranger) == "STALE"
    assert driver.state("j") == "r"
    assert driver.finish(lease) == "OK"


def test_finish_may_be_repeated(driver: Driver) -> None:
    """A finish sent twice counts once."""
    driver.enqueue("j")
    [lease] = driver.take()
    assert [driver.finish(lease), driver.finish(lease)] == ["OK", "AGAIN"]
    assert driver.client.hget(f"{driver.root}n:text:m", "done") == b"1"
    drained(driver)


def test_release_keeps_the_place_and_the_attempts(make_driver) -> None:
    """A released job is first again, however often, and its attempts are not used up; the fence moves on."""
    driver = make_driver(max_attempts=2)
    for name in ("j1", "j2"):
        driver.enqueue(name)
    for attempt in range(1, 6):
        [lease] = driver.take()
        assert (lease.id, lease.attempt) == ("j1", attempt)
        assert driver.release(lease) == "OK"
        assert driver.finish(lease) == "STALE"
    [lease] = driver.take()
    assert driver.retry(lease) == "RETRY"


def test_retries_back_off_and_end(make_driver) -> None:
    """A failed attempt comes back after a delay that doubles; after the last one the job is a dead letter."""
    driver = make_driver(max_attempts=3, retry_delay_max=3.0)
    driver.enqueue("j")
    for delay in (2000, 3000):  # 2 s, then 4 s bounded by 3 s
        [lease] = driver.take()
        assert driver.retry(lease, delay=2000) == "RETRY"
        driver.now += delay - 1
        assert driver.take() == []
        driver.now += 1
    [lease] = driver.take()
    assert driver.retry(lease) == "DEAD"
    assert driver.state("j") == "failed"
    assert driver.client.zscore(f"{driver.root}dead", "j") == driver.now
    assert driver.client.pttl(driver.keys.job("j")) > 6 * DAY
    drained(driver)


def test_a_retry_beyond_the_deadline_is_not_made(driver: Driver) -> None:
    """A job whose next attempt would begin after its deadline ends with its failure."""
    driver.enqueue("j", ttl=1500)
    [lease] = driver.take()
    assert driver.retry(lease, delay=2000) == "DEAD"


def test_a_lost_lease_goes_to_another_worker(driver: Driver) -> None:
    """A lease that was not renewed is taken over with the next attempt; the old holder is fenced off."""
    driver.enqueue("j")
    [old] = driver.take("dead")
    assert driver.take("w") == []
    driver.expire(old)
    [new] = driver.take("w")
    assert (new.id, new.attempt, new.crashes) == ("j", 2, 1)
    assert driver.finish(old, "dead") == "STALE"
    assert driver.beat(old, owner="dead") == (["j"], {})
    assert driver.finish(new) == "OK"
    drained(driver)


def test_a_worker_that_lives_was_not_killed(driver: Driver) -> None:
    """A worker that was cut off for a while and beats again takes its crash back, once: the job need not run alone."""
    driver.enqueue("j")
    [old] = driver.take("cut-off")
    driver.expire(old)
    driver.sweep()
    assert driver.field("j", "crash") == "1"
    for _ in range(2):
        assert driver.beat(old, owner="cut-off") == (["j"], {})
        assert (driver.state("j"), driver.field("j", "crash"), driver.field("j", "rel")) == ("q", "0", "1")
    [new] = driver.take("w", running=1)
    assert (new.attempt, new.crashes) == (2, 0)
    driver.expire(new)
    driver.sweep()
    assert driver.beat(old, owner="cut-off") == (["j"], {})
    assert driver.field("j", "crash") == "1"  # this one was somebody else's


def test_leases_begin_anew_when_nobody_looked(driver: Driver) -> None:
    """After a time in which the broker was away from everybody no lease is taken for lost before it had a whole lease
    to be renewed in."""
    driver.enqueue("j")
    [lease] = driver.take()
    driver.expire(lease)
    driver.client.hset(f"{driver.root}watch", "looked", round(time.time() * 1000) - 60_000)
    driver.sweep()
    assert driver.take("other") == []
    assert driver.field("j", "crash") == "0"
    driver.expire()  # somebody looked all the time
    assert driver.take("other") != []


def test_a_lost_group_is_made_again(driver: Driver) -> None:
    """Leases outlive their consumer group: their holders renew them, others take them over when nobody does."""
    for name in ("kept", "lost"):
        driver.enqueue(name)
    [kept] = driver.take("w1")
    [lost] = driver.take("w2")
    driver.client.xgroup_destroy(f"{driver.root}f:text:m", "w")
    assert driver.beat(kept, owner="w1") == ([], {})
    driver.expire(lost)
    driver.sweep()
    assert (driver.state("kept"), driver.state("lost")) == ("r", "q")
    [again] = driver.take("w3")
    assert (again.id, again.attempt) == ("lost", 2)
    assert driver.finish(again, "w3") == "OK"
    assert driver.finish(kept, "w1") == "OK"
    drained(driver)


def test_a_beat_keeps_the_lease(driver: Driver) -> None:
    """A renewed lease is not taken over, however long the job runs."""
    driver.enqueue("j")
    [lease] = driver.take("old")
    driver.expire(lease)
    assert driver.beat(lease, owner="old") == ([], {})
    assert driver.take("new") == []
    assert driver.finish(lease, "old") == "OK"


def test_a_poison_job_dies_and_its_neighbours_live(driver: Driver) -> None:
    """Jobs of a crashed worker run alone on retry; the one that crashes again is dead, with an end event."""
    driver.open_gateway("g")
    for name in ("poison", "good1", "good2"):
        driver.enqueue(name, gateway="g")
    driver.expire(*driver.take("w1", 3))
    while driver.state("good2") != "done":
        [alone] = driver.take("w2", 3)
        assert alone.crashes == 1
        if alone.id == "poison":
            driver.expire(alone)
        else:
            assert driver.finish(alone, "w2") == "OK"
    assert driver.client.zscore(f"{driver.root}dead", "poison") == driver.now
    assert driver.state("good1") == "done"
    [note] = driver.events("g")
    assert (note.job, note.attempt) == ("poison", 3)
    assert isinstance(note.event, Failed)
    assert note.event.code == "worker_lost"


def test_a_suspect_waits_for_an_idle_worker(driver: Driver) -> None:
    """A busy worker passes a suspect over for a second; then, from that class's turn on, it takes nothing, of other
    classes neither, so that it runs empty."""
    driver.enqueue("suspect")
    driver.expire(*driver.take("w1"))
    driver.enqueue("other1", tenant="b")
    driver.enqueue("other2", tenant="b")
    assert [lease.id for lease in driver.take("w2", 2, running=1)] == ["other1", "other2"]
    driver.enqueue("other3", tenant="b", priority=2)
    driver.now += 1001
    assert driver.take("w2", 3, running=1) == []
    assert [lease.id for lease in driver.take("w2", 3)] == ["suspect"]
    assert [lease.id for lease in driver.take("w3", 3)] == ["other3"]


def test_one_busy_worker_runs_empty_for_a_suspect(driver: Driver) -> None:
    """The one with least to do of those that ask; the others go on, and replace it when it asks no more."""
    driver.enqueue("a suspect")
    driver.expire(*driver.take("w1"))
    driver.sweep()
    for number in range(5):
        driver.enqueue(f"other{number}", tenant="b")
    driver.now += 1001
    assert driver.take("w2", running=3) == []
    assert [lease.id for lease in driver.take("w3", running=3)] == ["other0"]
    assert driver.take("w4", running=2) == []
    assert [lease.id for lease in driver.take("w2", running=3)] == ["other1"]
    assert driver.take("w4", running=2) == []
    driver.now += 1000
    assert [lease.id for lease in driver.take("w3", running=4)] == ["other2"]
    driver.now += 1
    assert driver.take("w3", running=4) == []
    assert [lease.id for lease in driver.take("w4", running=5)] == ["other3"]
    assert [lease.id for lease in driver.take("w5", 3)] == ["a suspect"]


def test_suspects_hide_nothing_behind_them(make_driver) -> None:
    """However many jobs of dead workers stand before it, a busy worker finds the job that it may run."""
    driver = make_driver(look_ahead=2)
    for number in range(7):
        driver.enqueue(f"suspect{number}")
    driver.expire(*driver.take("w1", 7))
    driver.enqueue("other", tenant="b")
    assert [lease.id for lease in driver.take("w2", running=1)] == ["other"]
    assert driver.take("w2", running=2) == []
    [alone] = driver.take("w3", 3)
    assert alone.crashes == 1


def test_reclaim_reaches_every_lease(driver: Driver) -> None:
    """A lost lease behind many that are alive is found within a few calls."""
    for number in range(250):
        driver.enqueue(f"j{number:03}", tenant=f"t{number}")
    taken = [lease for _ in range(3) for lease in driver.take(room=100)]
    driver.expire(taken[-1])
    for _ in range(5):
        driver.sweep()
    assert driver.state(taken[-1].id) == "q"


def test_cancel_before_the_lease_ends_the_job(driver: Driver) -> None:
    """A waiting or scheduled job ends at once, and its gateway hears of it."""
    driver.open_gateway("g")
    driver.enqueue("waiting", gateway="g")
    driver.enqueue("scheduled", gateway="g", delay=1000)
    assert driver.cancel("waiting", "no") == driver.cancel("scheduled", "no") == "ENDED"
    assert driver.cancel("waiting") == driver.cancel("unknown") == "NONE"
    assert [note.event for note in driver.events("g")] == [Cancelled("no"), Cancelled("no")]
    assert driver.take() == []
    drained(driver)


def test_cancel_of_a_running_job_asks_its_worker(driver: Driver) -> None:
    """The worker is told at once, and again by each beat; a job that ends all the same keeps its result."""
    driver.enqueue("j")
    [lease] = driver.take()
    with driver.client.pubsub() as channel:
        channel.subscribe(driver.keys.cancels("w"))
        assert driver.cancel("j", "left") == "ASKED"
        messages = [channel.get_message(timeout=1) for _ in range(2)]
    assert messages[1]["data"] == b"j left"
    assert driver.beat(lease) == ([], {"j": "left"})
    assert driver.finish(lease, state="cancelled") == "OK"
    drained(driver)


@pytest.mark.parametrize("end", ["lost", "released", "retried"])
def test_a_cancelled_job_gets_no_other_attempt(driver: Driver, end: str) -> None:
    """After a cancel a lost, released or failed lease ends the job."""
    driver.enqueue("j")
    [lease] = driver.take()
    driver.cancel("j")
    if end == "lost":
        driver.expire(lease)
        driver.sweep()
    elif end == "released":
        driver.release(lease)
    else:
        assert driver.retry(lease) == "CANCELLED"
    assert driver.state("j") == "cancelled"
    drained(driver)


def test_deadlines_end_waiting_jobs(driver: Driver) -> None:
    """A job that waits beyond its deadline fails, by sweep or when a worker looks at it; its gateway hears of it."""
    driver.open_gateway("g")
    driver.enqueue("swept", ttl=1000, gateway="g")
    driver.now += 1000
    driver.sweep()
    driver.enqueue("seen", ttl=1000, gateway="g")
    driver.enqueue("later", ttl=5000)
    driver.now += 1000
    assert [lease.id for lease in driver.take()] == ["later"]
    assert [driver.state(job) for job in ("swept", "seen")] == ["failed", "failed"]
    assert [note.event.code for note in driver.events("g")] == ["deadline_exceeded"] * 2


def test_deadlines_end_running_jobs(driver: Driver) -> None:
    """The worker of an overdue job is told to abort it; if it is dead, the job fails when its lease runs out."""
    driver.enqueue("j", ttl=1000)
    [lease] = driver.take()
    driver.now += 1000
    driver.sweep()
    assert driver.beat(lease) == ([], {"j": "deadline"})
    driver.expire(lease)
    driver.sweep()
    assert driver.state("j") == "failed"
    drained(driver)


def test_a_failed_job_can_be_queued_again(make_driver) -> None:
    """Requeue gives a dead letter all its attempts back, under later attempt numbers; others are left alone."""
    driver = make_driver(max_attempts=1)
    driver.enqueue("j")
    [lease] = driver.take()
    driver.retry(lease)
    assert driver.requeue("j") == "OK"
    assert driver.requeue("j") == driver.requeue("unknown") == "NONE"
    assert driver.client.zcard(f"{driver.root}dead") == 0
    [again] = driver.take()
    assert (again.attempt, again.crashes) == (2, 0)
    assert b"payload" in again.fields
    assert driver.finish(again) == "OK"
    assert driver.requeue("j") == "NONE"
    drained(driver)


def test_queued_again_a_job_counts_against_the_limits_that_come_with_it(make_driver) -> None:
    """All of them or, where one is used up, none: the job then is as it was. Without terms it counts against none."""
    driver = make_driver(max_attempts=1)
    driver.enqueue("j")
    terms = msgspec.msgpack.encode({"s": [("k:a", {"r": 1})], "e": {"r": 1}, "n": 1, "id": "j", "a": {"r": 1}})
    for answer in (b"OK", b"LIMIT"):
        [lease] = driver.take()
        driver.retry(lease)
        status, lines = driver.requeue("j", terms)
        assert (status, [line[:3] for line in lines]) == (answer, [[1, b"r", 1]])
    assert driver.state("j") == "failed"
    assert driver.requeue("j") == "OK"
    [lease] = driver.take()
    assert driver.finish(lease) == "OK"
    drained(driver)


def test_leases_whose_answer_got_lost_are_given_again(driver: Driver) -> None:
    """With the entries it knows, a worker gets those that it does not know, under the same attempt."""
    for name in ("j1", "j2", "j3"):
        driver.enqueue(name)
    [known] = driver.take()
    [lost] = driver.take()
    assert driver.take("other", known=[]) != [lost]
    again = driver.take(room=1, known=[known.entry])
    assert again == [lost]


def test_a_worker_gets_the_jobs_whose_beginning_it_has_cached(make_driver) -> None:
    """Of the first few candidates the longest cached beginning goes first, until the head has waited too long."""
    driver = make_driver(look_ahead=3, look_ahead_wait=0.2)
    beginnings = {"head": ["x"], "short": ["a"], "long": ["a", "b"], "beyond": ["a", "b", "c"]}
    for name, prefixes in beginnings.items():
        driver.enqueue(name, prefixes=prefixes)
    assert [lease.id for lease in driver.take(prefixes=["a", "b", "c"])] == ["long"]
    driver.now += 201
    assert [lease.id for lease in driver.take(prefixes=["a", "b", "c"])] == ["head"]


def test_priorities_are_weighted(driver: Driver) -> None:
    """With all three waiting, thirteen leases are eight interactive, four normal, one batch, the first interactive."""
    for number in range(13):
        for priority in (2, 1, 0):
            driver.enqueue(f"{priority}-{number:02}", priority=priority)
    served = [lease.id[0] for lease in driver.take(room=13)]
    assert [served.count(priority) for priority in "012"] == [8, 4, 1]
    assert served[0] == "0"


def test_tenants_share_evenly(make_driver) -> None:
    """After a thousand jobs of one tenant, ten of another are served among the first forty."""
    driver = make_driver(cap=10_000, tenant_cap=10_000)
    for number in range(1000):
        driver.enqueue(f"a{number}", tenant="a")
    driver.take(room=5)
    for number in range(10):
        driver.enqueue(f"b{number}", tenant="b")
    served = [lease.id for lease in driver.take(room=40)]
    assert sum(name.startswith("b") for name in served) == 10


def test_an_idle_queue_forgets_shares(driver: Driver) -> None:
    """A tenant that used the queue alone owes nothing to the next one, and idle shares expire."""
    for number in range(20):
        driver.enqueue(f"a{number}", tenant="a")
        driver.finish(driver.take()[0])
    driver.enqueue("b", tenant="b")
    driver.enqueue("a", tenant="a")
    assert [driver.take()[0].id, driver.take()[0].id] in (["a", "b"], ["b", "a"])
    assert 0 < driver.client.pttl(f"{driver.root}vt:text:m") <= 600_000


def test_lost_shares_do_not_let_new_jobs_overtake(driver: Driver) -> None:
    """If the shares are gone while jobs wait, a new tenant starts where the waiting ones stand."""
    for number in range(10):
        driver.enqueue(f"a{number}", tenant="a")
    driver.take(room=5)
    driver.client.delete(f"{driver.root}vt:text:m")
    driver.enqueue("b0", tenant="b")
    driver.enqueue("b1", tenant="b")
    served = [driver.take()[0].id for _ in range(7)]
    assert served.index("b1") >= 1
    assert served.index("a5") <= 1


def test_the_group_comes_back_after_it_was_lost(driver: Driver) -> None:
    """A stream without its group (a failover in between) does not stop the queue."""
    driver.enqueue("j1")
    driver.enqueue("j2")
    driver.finish(driver.take()[0])
    driver.client.execute_command("XGROUP", "DESTROY", f"{driver.root}f:text:m", "w")
    [lease] = driver.take()
    assert driver.finish(lease) == "OK"
    drained(driver)


def test_dead_workers_leave_the_registry(make_driver) -> None:
    """A worker without beats is gone after three of them, and so are its consumers, but never their leases."""
    driver = make_driver(beat=5.0)
    driver.enqueue("j")
    [lease] = driver.take("w")
    driver.beat(lease, owner="w")
    driver.now += 15_001
    driver.sweep()
    assert driver.client.zcard(f"{driver.root}wks") == 0
    assert driver.beat(lease, owner="w") == ([], {})
    driver.finish(lease)
    driver.now += 15_001
    driver.sweep()
    assert driver.client.execute_command("XINFO", "CONSUMERS", f"{driver.root}f:text:m", "w") == []


def test_consumers_of_dead_workers_go_however_many_live(driver):
    """A sweep looks at a hundred consumers, each time at the next ones: none stays behind workers that live."""
    driver.enqueue("j1")
    driver.finish(driver.take(owner="zz-dead")[0], owner="zz-dead")
    for number in range(250):
        driver.client.execute_command("XGROUP", "CREATECONSUMER", f"{driver.root}f:text:m", "w", f"live-{number:03}")
        driver.client.zadd(f"{driver.root}wks", {f"live-{number:03}": 10 * driver.now})
    for _ in range(4):
        driver.now += 1000
        driver.sweep()
    consumers = driver.client.execute_command("XINFO", "CONSUMERS", f"{driver.root}f:text:m", "w")
    assert len(consumers) == 250


def test_shares_of_idle_tenants_are_swept(driver: Driver) -> None:
    """A tenant whose last job lies in the past of a busy queue is forgotten."""
    driver.enqueue("once", tenant="once")
    for number in range(10):
        driver.enqueue(f"a{number}", tenant="a")
    driver.take(room=5)
    driver.sweep()
    shares = driver.client.hkeys(f"{driver.root}vt:text:m")
    assert b"1:once" not in shares
    assert b"1:a" in shares


def test_a_background_job_ends_in_its_log(driver: Driver) -> None:
    """A streamed job without a gateway gets its end event in its output log, which expires."""
    driver.enqueue("j", stream=1)
    driver.cancel("j", "no")
    key = driver.keys.output("j")
    assert [note.event for note in driver.notes(key)] == [wire.Anew(), Cancelled("no")]
    assert driver.client.pttl(key) > 0


def test_a_gone_gateway_gets_no_stream(driver: Driver) -> None:
    """Nothing is written for a gateway whose stream does not exist, so that nothing stays for ever."""
    driver.enqueue("j", gateway="gone")
    driver.cancel("j")
    assert driver.events("gone") == []
    assert not driver.client.exists(driver.keys.replies("gone"))


def test_status_counts(driver: Driver) -> None:
    """Depths by priority, running, the age of the oldest head, and totals."""
    for number, priority in enumerate([0, 1, 1, 2]):
        driver.enqueue(f"j{number}", priority=priority)
    driver.enqueue("later", delay=1000)
    driver.now += 3000 - 2001
    driver.finish(driver.take()[0])
    driver.take()
    scheduled, dead, paused, line = driver.run("status", driver.now)
    assert (scheduled, dead, paused) == (1, 0, 0)
    assert line[0] == b"text:m"
    assert line[1:5] == [0, 1, 1, 1]
    assert line[5] == 999
    assert line[6:] == [1, 0, 0, 0]


def test_answered_jobs_leave_soon(make_driver) -> None:
    """What a gateway has told its client is not kept: the result goes at once, the record soon. What failed, what
    belongs to another gateway and what still runs stays; saying it twice does no harm."""
    driver = make_driver(answered_ttl=5.0)
    for name, gateway in (("mine", "g"), ("failed", "g"), ("other", "h"), ("running", "g")):
        driver.enqueue(name, gateway=gateway)
    leases = {lease.id: lease for lease in driver.take(room=4)}
    driver.finish(leases["mine"])
    driver.finish(leases["failed"], state="failed", dead=1)
    driver.finish(leases["other"])
    names = ("mine", "failed", "other", "running", "unknown")
    assert driver.run("answered", "g", *names) == 1
    assert driver.run("answered", "g", *names) == 1
    lives = {name: driver.client.pttl(driver.keys.job(name)) / 1000 for name in leases}
    assert [name for name in leases if driver.field(name, "r")] == ["failed", "other"]
    assert lives["mine"] <= 5
    assert lives["other"] > 3000
    assert lives["failed"] > 6 * 86400
    assert driver.state("mine") == "done"
    assert driver.finish(leases["running"]) == "OK"
