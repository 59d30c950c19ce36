"""One process on one machine: from the start to the end, with the real demo model."""

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from tests.end_to_end.process import Server, Start, eventually

PARIS = {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}


def test_a_first_question_gets_a_sensible_answer(server: Server) -> None:
    """The curl that the server suggests names Paris."""
    status, answer = server.post("/completion", PARIS)
    assert status == 200
    assert "Paris" in answer["content"]
    assert answer["stop"] is True
    assert answer["tokens_predicted"] == 8


def test_tokens_come_as_they_are_made(server: Server) -> None:
    """A stream's events are spread over the time of generation, and make up the whole text."""
    asked = {**PARIS, "n_predict": 48, "stream": True}
    times, text = [], ""
    written = server.metric('velesio_broker_call_seconds_count{op="xadd"}')
    for event in server.events("/completion", asked):
        times.append(time.monotonic())
        text += event["content"]
    assert "Paris" in text
    assert len(times) > 40
    middle = times[len(times) // 2]
    assert middle - times[0] > 0.2 * (times[-1] - times[0])
    assert text == server.post("/completion", {**asked, "stream": False})[1]["content"]
    assert server.metric('velesio_broker_call_seconds_count{op="xadd"}') == written  # not one went through the broker


def test_the_openai_client_streams_a_chat(server: Server) -> None:
    """OpenAI's own client reads the stream to its end, with usage."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="smollm2-135m-instruct",
            messages=[{"role": "user", "content": "What is the capital city of France? Answer in one sentence."}],
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 3


def test_a_client_that_leaves_frees_its_sequence(server: Server) -> None:
    """After a disconnect in the middle of a stream the engine computes nothing for it: at most one step more."""
    connection = server.connect()
    body = json.dumps({"prompt": "Count: one, two, three,", "n_predict": 2000, "ignore_eos": True, "stream": True})
    connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.readline()
    assert server.metric("velesio_engine_sequences") == 1
    before = server.metric("velesio_cancelled_total")
    answer.close()
    connection.close()
    eventually(lambda: server.metric("velesio_engine_sequences") == 0, within=3)
    assert server.metric("velesio_cancelled_total") == before + 1
    steps = server.metric("velesio_engine_steps_total")
    status, _ = server.post("/completion", {**PARIS, "n_predict": 1})
    assert status == 200
    assert server.metric("velesio_engine_steps_total") - steps <= 3  # the new job's own: nothing else ran on


def test_interrupt_leaves_nothing_behind(start: Start, folder: Path) -> None:
    """Ctrl-C during a stream: the stream ends well, and no process, socket, pid file or lock remains."""
    server = start("all").ready()
    family = server.family()
    assert len(family) > 1  # the embedded Valkey
    events = server.events("/completion", {**PARIS, "n_predict": 64, "ignore_eos": True, "stream": True})
    first = next(events)
    os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    rest = list(events)
    assert rest[-1]["stop"] is True
    assert first["content"] + "".join(event["content"] for event in rest) != ""
    assert server.process.wait(30) == 0
    assert not any(process.is_running() for process in family)
    left = [path.name for path in (folder / "data").rglob("*") if not path.is_dir()]
    assert not [name for name in left if name.endswith((".sock", ".pid")) or "lock" in name], left


def test_kill_and_start_again(start: Start) -> None:
    """kill -9 in the middle of an answer; the same folder serves again at once, in less than 5 s."""
    first = start("all").ready()
    events = first.events("/completion", {**PARIS, "n_predict": 500, "ignore_eos": True, "stream": True})
    next(events)
    first.kill()
    with contextlib.suppress(Exception):
        list(events)
    began = time.monotonic()
    second = start("all").ready(within=20)
    took = time.monotonic() - began
    assert took < 5, took
    assert "Paris" in second.post("/completion", PARIS)[1]["content"]


def test_a_second_server_on_the_same_folder_is_refused(start: Start) -> None:
    """Two servers on one data directory: the second says who holds it and ends."""
    start("all").ready()
    second = start("all")
    assert second.process.wait(20) == 2
    assert "data" in second.log()


def test_a_taken_port_is_refused(start: Start, server: Server) -> None:
    """The message names the address and the option."""
    second = start("all", f"server.port={server.port}")
    assert second.process.wait(30) == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in second.log()
    assert "server.port" in second.log()


def test_an_exposed_address_needs_keys(start: Start) -> None:
    """Listening beyond loopback without keys refuses to start, with the remedy."""
    refused = start("all", "server.host=0.0.0.0")
    assert refused.process.wait(20) == 2
    assert "[[keys]]" in refused.log()
    allowed = start("all", "server.host=0.0.0.0", env={"API_TOKENS": "secret-one"}).ready()
    assert allowed.post("/completion", PARIS)[0] == 401
    status, _ = allowed.post("/completion", PARIS, {"Authorization": "Bearer secret-one"})
    assert status == 200
    assert "secret-one" not in allowed.log()


def test_eight_clients_share_their_steps(server: Server) -> None:
    """Continuous batching: eight clients together need fewer steps than tokens, by far."""
    before = server.metric("velesio_engine_steps_total")
    asked = {**PARIS, "n_predict": 32, "ignore_eos": True}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.post("/completion", asked), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert len({answer["content"] for _, answer in answers}) == 1
    steps = server.metric("velesio_engine_steps_total") - before
    assert steps < 8 * 32 / 2, steps


REFUSALS = [
    ("/completion", b'{"prompt": ', 400, "JSON"),
    ("/v1/chat/completions", b"{x", 400, "JSON"),
    ("/completion", {"prompt": "a", "temperature": "hot"}, 400, "temperature"),
    ("/v1/chat/completions", {"messages": "hello"}, 400, "messages"),
    ("/v1/chat/completions", {"messages": []}, 400, "messages"),
    ("/completion", {"prompt": "a", "n_predict": -5}, 400, "n_predict"),
    ("/completion", {}, 400, "prompt"),
    ("/completion", {"prompt": "a", "model": "nope"}, 404, "smollm2-135m-instruct"),
    ("/v1/chat/completions", {"model": "nope", "messages": [{"role": "user", "content": "a"}]}, 404, "nope"),
    ("/completion", {"prompt": "word " * 20000}, 400, "exceeds the available context size"),
    ("/completion", {"prompt": "word " * 20000, "stream": True}, 400, "exceeds the available context size"),
    ("/completion", b'{"prompt": "' + b"a" * (4 * 1024 * 1024) + b'"}', 413, "max_body"),
    ("/nothing/here", {}, 404, ""),
]


@pytest.mark.parametrize(("path", "body", "status", "said"), REFUSALS)
def test_bad_input_is_told_what_to_do(server: Server, path: str, body: object, status: int, said: str) -> None:
    """Right status, the family's own error shape, and a message that names the place or the remedy."""
    got, answer = server.post(path, body)
    assert got == status, answer
    assert said in answer["error"]["message"], answer
    openai_family = path.startswith("/v1/")
    assert isinstance(answer["error"]["code"], int) != openai_family
    assert server.get("/readyz")[0] == 200


def test_the_log_holds_no_prompt(start: Start) -> None:
    """Neither prompts nor answers reach the log, at its most talkative level."""
    server = start("all", "log.level=debug").ready()
    prompt = {**PARIS, "prompt": "Xylophones of Zanzibar"}
    answer = server.post("/completion", prompt)[1]["content"]
    question = {"role": "user", "content": "Xylophones of Zanzibar"}
    server.post("/v1/chat/completions", {"messages": [question], "max_tokens": 8})
    server.stop()
    assert "Xylophones" not in server.log()
    assert answer.strip() not in server.log()
    assert psutil.pid_exists(server.process.pid) is False
