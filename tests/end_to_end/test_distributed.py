"""Gateway and workers as processes of their own on one broker: work is shared, and a death loses nothing."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import psutil
import pytest
import redis

from tests.end_to_end.process import Server, Start, eventually

QUICK = ("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5")
ECHO = ('models=[{name="echo", backend="echo", slots=4, tokens_per_second=40, context=100000}]', "demo=false")
TEXT = {"prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9,", "n_predict": 120, "temperature": 0, "ignore_eos": True}
STORY = {**TEXT, "prompt": "The three laws of motion are"}
"""Whose words are often nearly as likely as others."""


def servers(start: Start, url: str, *settings: str, workers: int = 2) -> tuple[Server, list[Server]]:
    common = (f"redis.url={url}", *QUICK, *settings)
    started = [start("worker", *common, f"worker.id=worker-{number}") for number in range(workers)]
    gateway = start("gateway", *common)
    for worker in started:
        worker.ready()
    return gateway.ready(), started


def test_work_is_shared(broker_url: str, start: Start) -> None:
    """Eight long jobs at once on two workers of four slots: all are answered, four of them by each."""
    gateway, workers = servers(start, broker_url, *ECHO)
    eventually(lambda: len(json.loads(gateway.get("/queue/status")[1])["workers"]) == 2)
    asked = {"prompt": "[[tokens 80]] a b c", "n_predict": 80}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.post("/completion", asked), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    eventually(lambda: [worker.log().count('"job ended"') for worker in workers] == [4, 4])


def test_a_killed_worker_loses_no_job(broker_url: str, start: Start) -> None:
    """kill -9 of one of two workers in the middle of twelve jobs: each is answered, whole and once."""
    gateway, (victim, _) = servers(start, broker_url, *ECHO)
    asked = {"prompt": "[[tokens 60]] one two three", "n_predict": 60}
    expected = gateway.post("/completion", asked)[1]["content"]

    def streamed(_: int) -> str:
        return "".join(event["content"] for event in gateway.events("/completion", {**asked, "stream": True}))

    with ThreadPoolExecutor(12) as pool:
        plain = [pool.submit(gateway.post, "/completion", asked) for _ in range(6)]
        streams = [pool.submit(streamed, number) for number in range(6)]
        eventually(lambda: b'"running":0' not in gateway.get("/queue/status")[1])
        time.sleep(0.3)  # into the middle of the jobs
        victim.kill()
        assert [future.result(60)[1]["content"] for future in plain] == [expected] * 6
        assert [future.result(60) for future in streams] == [expected] * 6


@pytest.mark.parametrize("asked", [TEXT, STORY], ids=["numbers", "story"])
def test_a_real_stream_survives_its_worker(broker_url: str, start: Start, asked: dict[str, Any]) -> None:
    """A SmolLM2 stream at temperature 0 whose worker is killed equals the undisturbed text, after a pause of at most
    the lease, two seconds to notice, and what a busy machine needs to compute the beginning again."""
    gateway, workers = servers(start, broker_url)
    undisturbed = gateway.post("/completion", asked)[1]["content"]
    eventually(lambda: not busy_workers(gateway))
    text, pause, heard = "", 0.0, time.monotonic()
    for number, event in enumerate(gateway.events("/completion", {**asked, "stream": True})):
        pause, heard = max(pause, time.monotonic() - heard), time.monotonic()
        text += event["content"]
        if number == 30:
            kill_the_holder(broker_url, workers)
    assert text == undisturbed
    assert pause <= 2 + 2 + 4, pause


def busy_workers(gateway: Server) -> list[str]:
    """The workers that hold jobs, as the queue's status names them."""
    status = json.loads(gateway.get("/queue/status")[1])
    return [worker["name"] for worker in status["workers"] if worker["jobs"]]


def test_a_gateway_is_small(broker_url: str, start: Start) -> None:
    """A gateway that has served requests holds less than 90 MB."""
    gateway, _ = servers(start, broker_url, *ECHO, workers=1)
    for _ in range(20):
        assert gateway.post("/completion", {"prompt": "a b", "n_predict": 2})[0] == 200
    assert psutil.Process(gateway.process.pid).memory_info().rss < 90_000_000


def test_no_worker_is_a_clear_503(broker_url: str, start: Start) -> None:
    """A gateway whose workers are gone says so, is not ready, and lives."""
    gateway, (worker,) = servers(start, broker_url, *ECHO, workers=1)
    assert worker.stop() == 0
    eventually(lambda: gateway.get("/readyz")[0] == 503)
    status, answer = gateway.post("/completion", {"prompt": "a"})
    assert status == 503
    assert "worker" in answer["error"]["message"]
    assert gateway.get("/livez")[0] == 200


def killed_in_the_middle(
    gateway: Server, broker_url: str, workers: list[Server], body: dict[str, Any], events: int
) -> list[Any]:
    """The events of a stream whose worker dies after so many of them."""
    heard = []
    for event in gateway.events("/completion", {**body, "stream": True}):
        heard.append(event)
        if len(heard) == events:
            kill_the_holder(broker_url, workers)
    return heard


def kill_the_holder(broker_url: str, workers: list[Server]) -> None:
    """kill -9 of the worker that holds the only job. All stand still while the broker is asked who that is, so that the
    answer cannot end meanwhile, however fast the machine."""
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    with redis.from_url(broker_url, decode_responses=True) as broker:
        jobs = [broker.hmget(key, "st", "wrk") for key in broker.scan_iter("*:j:*")]
    (holder,) = {owner for state, owner in jobs if state == "r"}
    for number, worker in enumerate(workers):
        if holder.startswith(f"worker-{number}"):
            worker.kill()
        else:
            worker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schema_outlives_a_worker(broker_url: str, start: Start, temperature: float) -> None:
    """The worker dies in the middle of a JSON document: the two halves are one valid document, sent once; at
    temperature 0 the same one."""
    gateway, workers = servers(start, broker_url)
    names = {
        "type": "array",
        "items": {"type": "string", "minLength": 8, "maxLength": 12},
        "minItems": 6,
        "maxItems": 6,
    }
    schema = {"type": "object", "properties": {"names": names}, "required": ["names"], "additionalProperties": False}
    asked = {
        "prompt": "Names as JSON:\n",
        "n_predict": 300,
        "temperature": temperature,
        "json_schema": schema,
        "seed": 5,
    }
    undisturbed = gateway.post("/completion", asked)[1]["content"] if not temperature else ""
    eventually(lambda: not busy_workers(gateway))
    heard = killed_in_the_middle(gateway, broker_url, workers, asked, 12)
    text = "".join(event["content"] for event in heard)
    jsonschema.validate(json.loads(text), schema)
    assert [event["stop"] for event in heard].count(True) == 1
    assert temperature or text == undisturbed


def test_a_stop_string_outlives_a_worker(broker_url: str, start: Start) -> None:
    """The worker dies before the stop string has come, also in the middle of it: the answer ends there, once."""
    gateway, workers = servers(start, broker_url)
    asked = {**TEXT, "stop": ["19, 20"]}
    undisturbed = gateway.post("/completion", asked)[1]
    assert (undisturbed["stop_type"], undisturbed["stopping_word"]) == ("word", "19, 20")
    eventually(lambda: not busy_workers(gateway))
    heard = killed_in_the_middle(gateway, broker_url, workers, asked, 20)
    assert "".join(event["content"] for event in heard) == undisturbed["content"]
    assert (heard[-1]["stop_type"], heard[-1]["stopping_word"]) == ("word", "19, 20")
    assert [event["stop"] for event in heard].count(True) == 1
