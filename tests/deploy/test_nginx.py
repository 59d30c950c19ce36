"""deploy/nginx/velesio.conf in nginx before a real server: TLS, streams, large bodies, clients that leave, reload."""

import base64
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.deploy.proxy import Proxy
from tests.end_to_end.process import Server, eventually, own_folder, running

MODELS = (
    'models=[{name="parrot", backend="echo", slots=8, tokens_per_second=40},'
    ' {name="painter", backend="echo", capability="image"}]'
)

KEY = "the-key-of-a-player"
SIGNED = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
ALONE = ("demo=false", "ports.llamacpp=0", "ports.sdapi=0")
TWENTY_MIB = 20 * 1024 * 1024


class Site:
    """The proxy and what is behind it."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self.connect = proxy.connect

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
    settings = ('server.trusted_proxies=["127.0.0.1/32"]', f'keys=[{{name="player", token="{KEY}"}}]', *ALONE)
    with own_folder() as folder, running(Server("all", folder, MODELS, *settings)) as server:
        proxy = Proxy(folder, [server.port])
        try:
            yield Site(server, proxy)
        finally:
            proxy.close()


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
