"""Background jobs across the deaths of everybody who had to do with them."""

import json
import queue as queues
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from tests.end_to_end.process import Server, Start, eventually

QUICK = ("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5")
ECHO = ('models=[{name="echo", backend="echo", slots=4, tokens_per_second=40, context=100000}]', "demo=false")
WORDS = "one two three"


def queue(server: Server, tokens: int) -> str:
    asked = {"url": "/completion", "body": {"prompt": f"[[tokens {tokens}]] {WORDS}"}}
    status, job = server.post("/v1/jobs", asked)
    assert status == 202, job
    return str(job["id"])


def events(server: Server, job: str, after: int) -> Iterator[tuple[int, str, Any]]:
    """Id, name and data of each event, until the stream ends or the server dies."""
    with closing(server.connect()) as connection, suppress(OSError, HTTPException):
        connection.request("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": str(after)})
        answer = connection.getresponse()
        block = b""
        while line := answer.readline():
            block += line
            if line != b"\n":
                continue
            if found := re.fullmatch(rb"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", block):
                yield int(found[1]), found[2].decode(), json.loads(found[3])
            block = b""


def workers_with(server: Server, job: str) -> list[str]:
    """Who computes a job."""
    status = json.loads(server.get("/queue/status")[1])
    return [worker["name"] for worker in status["workers"] if job in worker["jobs"]]


def text(told: list[tuple[int, str, Any]]) -> str:
    return "".join(data["text"] for _, name, data in told if name == "delta")


def expected(tokens: int) -> str:
    words = WORDS.split()
    return " ".join(words[number % len(words)] for number in range(tokens))


def test_events_survive_worker_and_gateway(broker_url: str, start: Start) -> None:
    """While a client follows a job, its worker is killed, then its gateway; at another gateway the client goes on from
    its last id and has had everything once."""
    common = (f"redis.url={broker_url}", *QUICK, *ECHO)
    workers = [start("worker", *common, f"worker.id=worker-{number}") for number in range(2)]
    gateways = [start("gateway", *common) for _ in range(2)]
    for server in (*workers, *gateways):
        server.ready()
    job = queue(gateways[0], 120)
    told: list[tuple[int, str, Any]] = []
    for event in events(gateways[0], job, 0):
        told.append(event)
        if len(told) == 30:
            (busy,) = eventually(lambda: workers_with(gateways[1], job))
            workers[int(busy.removeprefix("worker-"))].kill()
        if len(told) == 60:
            gateways[0].kill()
    assert 60 <= len(told) < 120
    told += events(gateways[1], job, told[-1][0])
    assert [name for _, name, _ in told].count("completed") == 1
    assert [place for place, _, _ in told] == sorted({place for place, _, _ in told})
    assert text(told) == told[-1][2]["content"] == expected(120)
    assert json.loads(gateways[1].get(f"/v1/jobs/{job}")[1])["crashes"] == 1


def test_a_job_survives_a_restart_of_everything(start: Start) -> None:
    """One machine is stopped in the middle of a job and started again on the same data: the job goes on where it was,
    and so does its client."""
    first = start("all", *QUICK, *ECHO, "server.drain_timeout=0.2").ready()
    job = queue(first, 120)
    told = []
    for event in events(first, job, 0):
        told.append(event)
        if len(told) == 40:
            first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    assert 40 <= len(told) < 120
    second = start("all", *QUICK, *ECHO).ready()
    began = time.monotonic()
    told += events(second, job, told[-1][0])
    assert time.monotonic() - began < 20
    assert text(told) == expected(120)
    status, result = second.get(f"/v1/jobs/{job}/result")
    assert (status, json.loads(result)["content"]) == (200, expected(120))
    found = eventually(lambda: json.loads(second.get(f"/v1/jobs/{job}")[1]))
    assert (found["state"], found["crashes"], found["attempts"]) == ("done", 0, 1)


def test_a_webhook_is_told_though_its_gateway_was_killed(broker_url: str, start: Start) -> None:
    """The gateway that took the request dies by kill -9 before the job ends; another one tells the webhook."""
    told: queues.Queue[tuple[str, Any]] = queues.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.put((self.headers["webhook-id"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=hook.serve_forever, daemon=True).start()
    try:
        to = ('webhooks.hosts=["127.0.0.1:*"]', "webhooks.private=true", "webhooks.secret=" + "s" * 24)
        common = (f"redis.url={broker_url}", *QUICK, *ECHO, *to)
        start("worker", *common)
        first, second = start("gateway", *common).ready(), start("gateway", *common).ready()
        asked = {"url": "/completion", "body": {"prompt": f"[[tokens 40]] {WORDS}"}}
        asked["webhook"] = f"http://127.0.0.1:{hook.server_port}/"
        status, job = first.post("/v1/jobs", asked)
        assert status == 202, job
        first.kill()
        name, message = told.get(timeout=20)
        assert name == f"msg_{job['id']}_1"
        assert (message["type"], message["data"]["id"]) == ("job.completed", job["id"])
        assert second.get(f"/v1/jobs/{job['id']}/result")[0] == 200
    finally:
        hook.shutdown()
        hook.server_close()
