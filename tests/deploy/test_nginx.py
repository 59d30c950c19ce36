"""deploy/nginx/velesio.conf in nginx before a real server: TLS, streams, large bodies, clients that leave, reload."""

import base64
import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.end_to_end.process import Server, eventually, free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy/nginx/velesio.conf"
MODELS = (
    'models=[{name="parrot", backend="echo", slots=8, tokens_per_second=40},'
    ' {name="painter", backend="echo", capability="image"}]'
)

KEY = "the-key-of-a-player"
SIGNED = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
ALONE = ("demo=false", "ports.llamacpp=0", "ports.sdapi=0")
TWENTY_MIB = 20 * 1024 * 1024


class Proxy:
    """nginx with the configuration that ships, on free ports and with a certificate of its own."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.port = free_port()
        self._plain = free_port()
        self._make_certificate(folder)
        text = CONFIGURATION.read_text(encoding="utf-8")
        for old, new in {
            "127.0.0.1:8000": f"127.0.0.1:{upstream}",
            "listen 443 ssl http2": f"listen 127.0.0.1:{self.port} ssl http2",
            "listen 80": f"listen 127.0.0.1:{self._plain}",
            "/etc/nginx/tls/fullchain.pem": f"{folder}/certificate.pem",
            "/etc/nginx/tls/privkey.pem": f"{folder}/key.pem",
            "ai.example.com": "localhost",
        }.items():
            assert old in text
            text = text.replace(old, new)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.getuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}{text}\n}}\n",
            encoding="utf-8",
        )
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "nginx is missing: scripts/setup --dev installs it as root, else apt-get install nginx"
        self.process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"])
        eventually(self._answers)

    @staticmethod
    def _make_certificate(folder: Path) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
            ],
            check=True,
            capture_output=True,
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, "nginx does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def redirect(self) -> str:
        """Where a request without TLS is sent."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._plain, timeout=10)) as connection:
            connection.request("GET", "/v1/models", headers={"Host": "localhost"})
            answer = connection.getresponse()
            assert answer.status == 301
            return answer.getheader("Location", "")


class Site:
    """The proxy, what is behind it, and a client that trusts its certificate."""

    def __init__(self, server: Server, proxy: Proxy, folder: Path) -> None:
        self.server, self.proxy = server, proxy
        self._trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.proxy.port, timeout=60, context=self._trust)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, json.dumps(body), SIGNED)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def events(self, body: dict[str, Any]) -> Iterator[tuple[float, str]]:
        """Each text of a stream, and when it came."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", "/completion", json.dumps({**body, "stream": True}), SIGNED)
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    yield time.monotonic(), json.loads(line[6:])["content"]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="velesio-"))
    settings = ('server.trusted_proxies=["127.0.0.1/32"]', f'keys=[{{name="player", token="{KEY}"}}]', *ALONE)
    server = Server("all", folder, MODELS, *settings)
    try:
        proxy = Proxy(folder, server.ready().port)
        try:
            yield Site(server, proxy, folder)
        finally:
            proxy.process.terminate()
            proxy.process.wait(10)
    finally:
        server.close()
        shutil.rmtree(folder)


def test_tls_and_nothing_without_it(site: Site) -> None:
    """Requests without TLS are sent to it; HTTP/2 is offered; the answers say that TLS is a must."""
    assert site.proxy.redirect() == "https://localhost/v1/models"
    offering = ssl.create_default_context()
    offering.check_hostname, offering.verify_mode = False, ssl.CERT_NONE
    offering.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", site.proxy.port), 10) as plain,
        offering.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"
    with contextlib.closing(site.connect()) as connection:
        connection.request("GET", "/v1/models", headers=SIGNED)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Strict-Transport-Security")
        answer.read()
        connection.request("GET", "/metrics", headers=SIGNED)
        assert connection.getresponse().status == 404


def test_tokens_come_one_by_one(site: Site) -> None:
    """Spread over the time of their making, not in one lump at the end."""
    came = list(site.events({"prompt": "[[tokens 40]] a b c", "n_predict": 40}))
    times = [when for when, text in came if text]
    assert len(times) > 30
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) < 0.5 * (times[-1] - times[0])


def test_pictures_of_twenty_megabytes_pass(site: Site) -> None:
    """A PNG that cannot be compressed, in base64, as the start of another picture."""
    side = int((TWENTY_MIB * 3 / 4 / 3) ** 0.5) + 1
    file = BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG", compress_level=0)
    body = {"init_images": [base64.b64encode(file.getvalue()).decode()], "width": 64, "height": 64, "steps": 1}
    assert len(json.dumps(body)) > TWENTY_MIB
    status, answer = site.post("/sdapi/v1/img2img", body)
    assert status == 200, answer
    assert base64.b64decode(answer["images"][0]).startswith(b"\x89PNG")


def test_a_client_that_leaves_cancels_its_job(site: Site) -> None:
    """Through the proxy as without it."""
    before = site.server.log().count("aborting job")
    stream = site.events({"prompt": "[[tokens 4000]] a b c", "n_predict": 4000})
    for _ in range(3):
        next(stream)
    stream.close()
    eventually(lambda: site.server.log().count("aborting job") > before)


def test_a_reload_drops_no_stream(site: Site) -> None:
    """nginx's old process ends what it has begun."""
    texts: list[str] = []
    begun = threading.Event()

    def read() -> None:
        for _, text in site.events({"prompt": "[[tokens 80]] a b c", "n_predict": 80}):
            texts.append(text)
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(20)
    site.proxy.process.send_signal(signal.SIGHUP)
    assert site.post("/completion", {"prompt": "a b", "n_predict": 2})[1]["content"] == "a b"
    reader.join(30)
    assert "".join(texts) == " ".join(["a", "b", "c"] * 27)[: len("".join(texts))]
    assert len("".join(texts).split()) == 80
