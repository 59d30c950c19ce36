"""The stack as processes: a broker, Velesio's gateway and workers, exporters, Prometheus; and a load on it."""

import contextlib
import http.client
import json
import math
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.end_to_end.process import Server, eventually, free_port

ROOT = Path(__file__).parents[2] / "monitoring/prometheus"
GPUS = Path(__file__).parent / "gpu_exporters.metrics"
QUICK = ("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5", "queue.retry_delay=0.2")
MODELS = (
    'models=[{name="parrot", backend="echo", slots=4, tokens_per_second=100},'
    ' {name="painter", backend="echo", capability="image"}]'
)
_SHORTER = {"h": "m", "m": "s"}


@dataclass(frozen=True)
class Series:
    """What a query gave for one set of labels."""

    labels: dict[str, str]
    values: list[float]

    @property
    def numbers(self) -> list[float]:
        """The values without those that are not a number, as where nothing is divided by nothing."""
        return [value for value in self.values if not math.isnan(value)]


class Program:
    """A process that can be stopped and started again with the same arguments."""

    def __init__(self, arguments: Sequence[str], port: int, folder: Path) -> None:
        self._arguments, self._port, self._folder = arguments, port, folder
        self.start()

    def start(self) -> None:
        """Starts it and waits until it listens."""
        found = shutil.which(self._arguments[0])
        if found is None:
            pytest.fail(f"{self._arguments[0]} is missing: scripts/setup --dev installs it as root, else apt-get does")
        with (self._folder / f"{Path(found).name}.log").open("ab") as output:
            self._process = subprocess.Popen(
                [found, *self._arguments[1:]], cwd=self._folder, stdout=output, stderr=subprocess.STDOUT
            )
        eventually(self._listens)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Ends it in order and starts it again."""
        self._process.terminate()
        self._process.wait()
        self.start()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False


class Stack:
    """Everything together, under load from the start to the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="velesio-"))
        self._ends = ExitStack()
        self._ended = threading.Event()
        self._redis, self._prometheus = free_port(), free_port()
        self._ports = [free_port() for _ in range(3)]
        """Of the monitoring ports: the gateway's and two workers'."""

    def __enter__(self) -> Self:
        self._ends.callback(shutil.rmtree, self.folder)
        load = threading.Thread(target=self._load)
        # After the servers have ended: a request that none of them answers would be waited for.
        self._ends.callback(lambda: load.ident and load.join())
        self.broker = self._run(
            *("redis-server", "--port", str(self._redis), "--save", "", "--maxmemory", "200mb"), port=self._redis
        )
        self.workers = [self._worker(number) for number in range(2)]
        # The demo model's, whose metrics echo does not have.
        real = self._velesio("worker", free_port(), "worker.id=real", 'worker.models=["smollm2-135m-instruct"]')
        self.gateway = self._velesio("gateway", self._ports[0], "monitoring.tenants=true")
        for server in (*self.workers, real, self.gateway):
            server.ready()
        self._start_exporters()
        load.start()
        self._ends.callback(self._ended.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def restart_worker(self, number: int) -> None:
        """Another process in the place of one that was killed."""
        self.workers[number] = self._worker(number).ready()

    def series(self, expression: str, seconds: int = 30) -> list[Series]:
        """What Prometheus has of it in the last seconds."""
        now = time.time()
        asked = {"query": expression, "start": now - seconds, "end": now, "step": 1}
        found = self.ask("/api/v1/query_range?" + urllib.parse.urlencode(asked))
        return [Series(one["metric"], [float(value) for _, value in one["values"]]) for one in found["data"]["result"]]

    def expect(self, expression: str, within: float = 40.0) -> list[Series]:
        """What Prometheus has of it, as soon as it has a number."""
        deadline = time.monotonic() + within
        while True:
            found = self.series(expression)
            if any(one.numbers for one in found):
                return found
            assert time.monotonic() < deadline, f"nothing of {expression}"
            time.sleep(0.2)

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self.ask("/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def ask(self, path: str) -> Any:
        """Prometheus's API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._prometheus}{path}", timeout=10) as answer:
            return json.load(answer)

    def _velesio(self, role: str, port: int, *settings: str) -> Server:
        url = f"redis.url=redis://127.0.0.1:{self._redis}"
        common = (url, *QUICK, f"monitoring.port={port}", "monitoring.advertise=127.0.0.1")
        server = Server(role, self.folder, *common, *settings)
        self._ends.callback(server.close)
        return server

    def _worker(self, number: int) -> Server:
        return self._velesio("worker", self._ports[1 + number], f"worker.id=worker-{number}", MODELS)

    def _run(self, *arguments: str, port: int) -> Program:
        program = Program(arguments, port, self.folder)
        self._ends.callback(program.stop)
        return program

    def _start_exporters(self) -> None:
        node, redis = free_port(), free_port()
        self._run("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node}", port=node)
        address = f"redis://127.0.0.1:{self._redis}"
        self._run(
            *("prometheus-redis-exporter", "-redis.addr", address, "-web.listen-address", f"127.0.0.1:{redis}"),
            port=redis,
        )
        gpu = self._ends.enter_context(static_exporter(GPUS.read_bytes()))
        targets = {"velesio": self._ports[0], "broker": redis, "node": node, "gpu": gpu, "prometheus": self._prometheus}
        self._run(
            *("prometheus", f"--config.file={self._configuration(targets)}", f"--storage.tsdb.path={self.folder}/tsdb"),
            f"--web.listen-address=127.0.0.1:{self._prometheus}",
            port=self._prometheus,
        )
        eventually(self._is_ready)

    def _is_ready(self) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{self._prometheus}/-/ready", timeout=10).close()
            return True
        return False

    def _configuration(self, ports: dict[str, int]) -> Path:
        """The repository's, with the ports of this machine, a sample each second, and rules as many times as fast."""
        config = yaml.safe_load((ROOT / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        del config["alerting"]
        for job in config["scrape_configs"]:
            if job["job_name"] == "velesio-workers":
                [discovery] = job["http_sd_configs"]
                url = f"http://127.0.0.1:{ports['velesio']}/metrics/targets"
                job["http_sd_configs"] = [{**discovery, "url": url, "refresh_interval": "1s"}]
            elif job["job_name"] in ports:
                job.pop("file_sd_configs", None)
                job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
        for path in ROOT.glob("rules/*.yml"):
            (self.folder / path.name).write_text(hastened(path.read_text(encoding="utf-8")), encoding="utf-8")
        config["rule_files"] = [str(self.folder / "*.rules.yml")]
        (self.folder / "targets").mkdir()
        path = self.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def _load(self) -> None:
        """What clients do: texts, pictures, answers left early, failures, and requests that are refused."""
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/completion", {"model": "parrot", "prompt": "[[tokens 20]] one two three", "n_predict": 20}),
            ("/completion", {"model": "parrot", "prompt": "[[retry once more]] a"}),
            ("/completion", {"model": "nobody", "prompt": "a"}),
            ("/completion", {"model": "smollm2-135m-instruct", "prompt": "One, two,", "n_predict": 4}),
            ("/sdapi/v1/txt2img", {"prompt": "a circle", "steps": 2, "width": 64, "height": 64}),
        ]
        while not self._ended.wait(0.1):
            # Servers are killed under it, and refuse its streams meanwhile, which `events` asserts that they do not.
            with contextlib.suppress(OSError, ValueError, AssertionError, http.client.HTTPException):
                for path, body in asked:
                    self.gateway.post(path, body)
                for number, _ in enumerate(self.gateway.events("/completion", {**asked[0][1], "stream": True})):
                    if number == 5:
                        break


def hastened(rules: str) -> str:
    """Rules whose hours are minutes and whose minutes are seconds."""
    rules = re.sub(r"\b30s\b", "1s", rules)
    return re.sub(r"\b(\d+)([hm])\b", lambda found: found[1] + _SHORTER[found[2]], rules)


@contextlib.contextmanager
def static_exporter(body: bytes) -> Iterator[int]:
    """An exporter that always tells the same; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
