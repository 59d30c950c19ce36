"""The operators' commands, as programs beside running servers."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.end_to_end.process import Server, Start, eventually

ECHO = ('models=[{name="echo", backend="echo", slots=4, tokens_per_second=40, context=100000}]', "demo=false")
QUICK = ("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5")


def velesio(folder: Path, *arguments: str, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    options = [part for one in (f"server.data_dir={folder / 'data'}", *settings) for part in ("--set", one)]
    command = [sys.executable, "-m", "velesio", *arguments, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def listed(folder: Path, *arguments: str, settings: tuple[str, ...] = ()) -> list[dict[str, object]]:
    answer = velesio(folder, *arguments, "--json", settings=settings)
    assert answer.returncode == 0, answer.stderr
    found: list[dict[str, object]] = json.loads(answer.stdout)
    return found


def test_the_server_of_this_machine_is_found(start: Start, folder: Path) -> None:
    """Beside `--role all` nothing must be configured: a failed job is listed, queued again, cancelled."""
    server = start("all", *ECHO).ready()
    assert server.post("/completion", {"prompt": "[[fail why]] a b c"})[0] == 500
    [dead] = listed(folder, "jobs", "list", "--state", "failed")
    assert (dead["reason"], dead["worker"] != "") == ("why", True)
    job = str(dead["id"])
    assert velesio(folder, "jobs", "show", job).stdout.startswith(f"id         {job}\n")
    assert velesio(folder, "jobs", "requeue", job).stdout == f"{job}: queued again\n"
    eventually(lambda: listed(folder, "jobs", "list", "--state", "failed"))
    again = velesio(folder, "jobs", "cancel", job)
    assert (again.returncode, again.stdout) == (1, f"{job}: nothing was done, it is failed\n")


def test_models_are_loaded_and_unloaded_from_outside(start: Start, folder: Path) -> None:
    """`models list` tells the states that workers have told, and `load` and `unload` change them."""
    start("all", *ECHO).ready()

    def state() -> str:
        return velesio(folder, "models", "list", settings=ECHO).stdout.splitlines()[1].split()[-2]

    assert state() == "loaded"
    assert velesio(folder, "models", "unload", "echo").stdout == "echo: unloaded\n"
    assert state() == "unloaded"
    assert velesio(folder, "models", "load", "echo", "--keep-alive", "60").stdout == "echo: loaded\n"
    assert velesio(folder, "models", "load", "ecko").returncode == 1


def test_a_drained_worker_ends_without_a_loss(broker_url: str, start: Start, folder: Path) -> None:
    """`workers drain --wait` under load: the worker finishes what it holds, leaves and exits with 0; the other one
    answers the rest."""
    common = (f"redis.url={broker_url}", *QUICK, *ECHO)
    workers = [start("worker", *common, f"worker.id=worker-{number}") for number in range(2)]
    gateway = start("gateway", *common)
    for worker in workers:
        worker.ready()
    gateway.ready()
    eventually(lambda: len(listed(folder, "workers", "list", settings=common)) == 2)
    asked = {"prompt": "[[tokens 160]] one two three", "n_predict": 160}  # four seconds
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(gateway.post, "/completion", asked) for _ in range(16)]
        eventually(lambda: all(worker["jobs"] for worker in json.loads(gateway.get("/queue/status")[1])["workers"]))
        drained = velesio(folder, "workers", "drain", "worker-0", "--wait", settings=common)
        assert (drained.returncode, drained.stderr) == (0, "")
        first, second = drained.stdout.splitlines()
        assert first.startswith("worker-0.")
        assert (first.endswith(": draining"), second.endswith(": has left")) == (True, True)
        texts = {answer.result(60)[1]["content"] for answer in answers}
    assert len(texts) == 1
    assert workers[0].process.wait(10) == 0
    assert [job["crashes"] for job in listed(folder, "jobs", "list", settings=common)] == [0] * 16
    [left] = listed(folder, "workers", "list", settings=common)
    assert left["name"] == "worker-1"


def test_the_gateway_of_a_drained_all_in_one_stays(start: Start, folder: Path) -> None:
    """The worker part leaves, the HTTP side goes on and says why it is not ready; the end is orderly."""
    server = start("all", *ECHO).ready()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/completion", {"prompt": "[[tokens 40]] a b c", "n_predict": 40})
        eventually(lambda: busy(server))
        drained = velesio(folder, "workers", "drain", "--all", "--wait")
        assert (drained.returncode, drained.stderr) == (0, "")
        assert answer.result(60)[0] == 200
    assert server.get("/livez")[0] == 200
    status, body = server.get("/readyz")
    assert (status, b"no worker" in body) == (503, True)
    assert server.stop() == 0


def busy(server: Server) -> bool:
    """Whether the queue's status shows a job that runs."""
    return bool(json.loads(server.get("/queue/status")[1])["active"])


def test_a_model_that_is_pulled_is_served_without_a_restart(start: Start, folder: Path, smollm2: Path) -> None:
    """In the place of the demo, as after a restart; removed, it is told of no more, and the demo is back."""
    places = (f"server.models_dir={folder / 'models'}", "worker.rescan=0.2", 'worker.models=["smollm2-*", "story"]')
    server = start("all", *places).ready()

    def served() -> list[str]:
        return [model["id"] for model in json.loads(server.get("/v1/models")[1])["data"]]

    assert served() == ["smollm2-135m-instruct"]
    with serving(smollm2, "story.gguf") as address:
        pulled = velesio(folder, "models", "pull", address, settings=places)
    assert pulled.returncode == 0, pulled.stderr
    eventually(lambda: served() == ["story"])
    status, answer = server.post(
        "/completion", {"model": "story", "prompt": "The capital of France is", "n_predict": 4, "temperature": 0}
    )
    assert (status, "Paris" in answer["content"]) == (200, True)
    assert velesio(folder, "models", "rm", "text/story.gguf", settings=places).returncode == 0
    eventually(lambda: served() == ["smollm2-135m-instruct"])
    assert server.post("/completion", {"prompt": "The capital of France is", "n_predict": 4})[0] == 200


@contextlib.contextmanager
def serving(file: Path, name: str) -> Iterator[str]:
    """The address of a file at another server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{name}"
        server.shutdown()
