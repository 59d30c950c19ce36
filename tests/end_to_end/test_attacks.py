"""Attacks over real sockets: each is refused clearly, and the server is as well as before.

One server with keys, which also has what attacks aim at: a session, sinks for fetches and webhooks that lead inside.
"""

import base64
import contextlib
import gzip
import io
import json
import socket
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.end_to_end.process import Server, own_folder, running

KEY = "attack-test-key-0123456789"
PROMPT = "zanzibar quokka marmalade"
"""What no log line may hold."""
SECRET = "attack-webhook-secret-0123456789"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def inside() -> Iterator[str]:
    """A service of this machine that nobody outside may reach; its requests are counted by `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PNG)

        do_POST = do_GET  # noqa: N815 - as http.server calls it

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


asked: list[str] = []


@pytest.fixture(scope="module")
def victim() -> Iterator[Server]:
    with (
        own_folder() as folder,
        running(
            Server(
                "all",
                folder,
                'models=[{name="parrot", backend="echo"}]',
                f'keys=[{{name="game", token="{KEY}", limits={{requests=0, concurrent=0}}}}]',
                "log.level=debug",
                "server.header_timeout=0.7",
                "server.body_timeout=0.7",
                "ports.llamacpp=0",
                "ports.sdapi=0",
                'fetch.hosts=["*:*"]',
                'webhooks.hosts=["*:*"]',
                f"webhooks.secret={SECRET}",
                "webhooks.attempts=1",
            )
        ) as server,
    ):
        yield server


@pytest.fixture(autouse=True)
def healthy(victim: Server) -> Iterator[None]:
    """After each attack the server answers a real question."""
    yield
    status, answer = post(victim, "/completion", {"prompt": "one two", "n_predict": 2})
    assert status == 200, answer
    assert victim.process.poll() is None
    assert "Traceback" not in victim.log(), victim.log()[-3000:]


def post(server: Server, path: str, body: object, **headers: str) -> tuple[int, object]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.post(path, body, {"Authorization": f"Bearer {KEY}", **named})


def raw(server: Server, data: bytes, timeout: float = 10.0) -> bytes:
    """What is answered to some bytes, up to the end of the connection or a second of silence."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        with contextlib.suppress(OSError):  # it may hang up while it is still being told
            connection.sendall(data)
        connection.settimeout(1.0)
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 16):
                answer += piece
    return answer


def head(*lines: str, path: str = "/v1/models", method: str = "GET") -> bytes:
    given = ("Host: localhost", f"Authorization: Bearer {KEY}", *lines)
    return "\r\n".join((f"{method} {path} HTTP/1.1", *given, "", "")).encode("latin-1")


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


# what a URL may lead to


@pytest.mark.parametrize(
    "host",
    [
        "{inside}", "localhost:{port}", "0.0.0.0:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}",
        "2130706433:{port}", "0x7f.1:{port}", "127.1:{port}", "169.254.169.254", "metadata.google.internal",
        "user@{inside}", "{inside}#@x.org",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_url_leads_inside(victim: Server, inside: str, host: str, scheme: str) -> None:
    """Every host is in the list, and still nothing private is reached, whatever it is spelled like."""
    address = f"{scheme}://" + host.format(inside=inside, port=inside.partition(":")[2]) + "/secret.png"
    part = {"type": "image_url", "image_url": {"url": address}}
    status, answer = post(victim, "/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    assert status == 400, answer
    assert "messages[0].content[0].image_url.url" in json.dumps(answer)
    job = {"url": "/completion", "body": {"prompt": "x"}, "webhook": address}
    status, answer = post(victim, "/v1/jobs", job)
    assert status in {202, 400}, answer
    assert asked == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("file:///etc/passwd", "'file' addresses are not fetched"),
        ("gopher://127.0.0.1:6379/_INFO", "'gopher' addresses are not fetched"),
        ("ftp://x/", "'ftp' addresses are not fetched"),
        ("dict://x:1/", "'dict' addresses are not fetched"),
        ("/etc/passwd", "'this' addresses are not fetched"),
    ],
)
def test_other_schemes_are_none(victim: Server, address: str, said: str) -> None:
    """Only http and https are fetched; everything else is refused as it stands."""
    part = {"type": "image_url", "image_url": {"url": address}}
    status, answer = post(victim, "/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    assert status == 400
    assert said in answer["error"]["message"]


# what a name may lead to


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "%2e%2e%2f", "a\x00b", "{vel}:j:1", "*", "x" * 5000]
)
def test_names_of_models_are_names(victim: Server, name: str) -> None:
    """404 for what nobody serves, and no file of that name is looked at."""
    for path, body in (
        ("/completion", {"prompt": "x"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/api/show", {}),
    ):
        status, answer = post(victim, path, {**body, "model": name})
        assert status in {400, 404}, (path, answer)
        assert "root:" not in json.dumps(answer)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", "a/b", "a\\b", "\x00", "x" * 300])
def test_files_of_slots_are_plain_names(victim: Server, name: str) -> None:
    """400 or 501 before any file is touched."""
    status, answer = post(victim, "/slots/0?action=save", {"filename": name})
    assert status in {400, 404, 500, 501}, answer
    assert not Path("/tmp/x").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../config.py",
        "/static/..%2f..%2fconfig.py",
        "/static/%2e%2e/app.py",
        "//etc/passwd",
        "/v1/jobs/..%2f..",
        "/v1/sessions/..%2fx",
        "/slots/../x",
        "/static/%00",
    ],
)
def test_paths_lead_to_routes_only(victim: Server, path: str) -> None:
    """Nothing of the disk is answered."""
    answer = raw(victim, head("Connection: close", path=path))
    assert statuses(answer)[0] in {400, 404, 405}, answer
    assert b"import" not in answer


# what a message's frame may say


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: +5",),
        ("Content-Length: 5, 5",),
        ("Content-Length: -1",),
        ("Content-Length: 0x5",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked\nX: y",),
        ("X: y\r\n Content-Length: 5",),
        ("Content-Length\x00: 5",),
        ("Bad Name: 5",),
    ],
)  # fmt: skip
def test_no_request_hides_in_another(victim: Server, lines: tuple[str, ...]) -> None:
    """What two servers could read differently is refused, the connection closed, and nothing behind it is answered."""
    hidden = head("X-Request-ID: smuggled", path="/smuggled")
    answer = raw(victim, head(*lines, path="/completion", method="POST") + b"0\r\n\r\n" + hidden)
    assert statuses(answer) in ([400], []), answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    "chunk",
    [b"5\r\nhello\r\nZ\r\n", b"5;\nx\r\nhello\r\n", b"-5\r\nhello\r\n", b"FFFFFFFFFFFFFFFFF\r\nx", b"5\r\nhelloX\r\n"],
)
def test_chunks_are_what_they_say(victim: Server, chunk: bytes) -> None:
    """A broken frame is the end of the connection."""
    hidden = head("X-Request-ID: smuggled", path="/smuggled")
    answer = raw(victim, head("Transfer-Encoding: chunked", path="/completion", method="POST") + chunk + hidden)
    assert set(statuses(answer)) <= {400, 408}, answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\x00b", "é" * 10, "a" * 129, "<script>"])
def test_no_header_comes_back_as_another(victim: Server, value: str) -> None:
    """A request id that is none is replaced; nothing of it is in the answer's head."""
    answer = raw(victim, head(f"X-Request-ID: {value}", f"Origin: {value}", "Connection: close"))
    lines = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert not any(line.startswith(b"x-evil") for line in lines)
    assert not any(line.startswith(b"x-request-id") and b"script" in line for line in lines)


def test_a_hundred_thousand_headers_are_too_many(victim: Server) -> None:
    """400 or the end of the connection, at once and not after reading them all."""
    answer = raw(victim, head(*(f"X-{number}: y" for number in range(100_000)), "Connection: close"))
    assert set(statuses(answer)) <= {400, 431}, answer[:200]
    answer = raw(victim, head("X: " + "y" * 1_000_000))
    assert set(statuses(answer)) <= {400, 431}, answer[:200]


# who takes his time


def test_slow_heads_lose_their_connection(victim: Server) -> None:
    """A hundred connections that send a byte now and then: each is answered 408 and closed, and others are served."""
    slow = [socket.create_connection(("127.0.0.1", victim.port), 10) for _ in range(100)]
    try:
        for piece in (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n", b"X-"):
            for connection in slow:
                connection.send(piece)
            time.sleep(0.1)
        assert post(victim, "/completion", {"prompt": "x", "n_predict": 1})[0] == 200
        for connection in slow:
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(4096):
                    answer += piece
            assert statuses(answer) == [408], answer
    finally:
        for connection in slow:
            connection.close()


def test_a_slow_body_is_not_waited_for(victim: Server) -> None:
    """408 in the family's shape when its time is over, however often a byte comes."""
    with socket.create_connection(("127.0.0.1", victim.port), 10) as connection:
        connection.sendall(head("Content-Length: 1000", path="/v1/chat/completions", method="POST") + b"{")
        answer, began = b"", time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - began < 8 and b"\r\n\r\n" not in answer:
            with contextlib.suppress(TimeoutError):
                answer += connection.recv(4096)
            with contextlib.suppress(OSError):
                connection.send(b" ")
    assert statuses(answer) == [408], answer
    assert b"body_timeout" in answer


# what a body may be


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\\ud800"}',
        b"\x00" * 1000,
        b'{"prompt": "x", "seed": ' + b"9" * 100_000 + b"}",
        b'{"prompt": "x", "n_predict": 1e999}',
        b"",
        b"null",
    ],
    ids=["list", "object", "no utf-8", "surrogate bytes", "half pair", "zeros", "digits", "infinite", "empty", "null"],
)  # fmt: skip
def test_strange_json_is_refused(victim: Server, body: bytes) -> None:
    """400 that says what is wrong, at each family's route."""
    for path in ("/completion", "/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/jobs", "/sdapi/v1/txt2img"):
        status, answer = post(victim, path, body)
        assert status in {400, 404, 422, 403, 503}, (path, status, answer)


def test_a_compressed_bomb_is_cut_off(victim: Server) -> None:
    """A megabyte that becomes a gigabyte is refused for what it becomes, as soon as it exceeds the limit."""
    bomb = gzip.compress(b" " * 50_000_000)
    for coding, data in (("gzip", bomb), ("deflate", zlib.compress(b" " * 50_000_000))):
        before = victim.family()[0].memory_info().rss
        status, answer = post(victim, "/completion", data, Content_Encoding=coding)
        assert status == 413, answer
        assert victim.family()[0].memory_info().rss - before < 100e6


def test_an_archive_is_no_picture(victim: Server) -> None:
    """A zip bomb sent as a picture is not unpacked."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 10_000_000)
    data = base64.b64encode(file.getvalue()).decode()
    for content in ([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}],):
        status, answer = post(victim, "/v1/chat/completions", {"messages": [{"role": "user", "content": content}]})
        assert status in {400, 501}, answer


def test_a_picture_that_claims_too_many_pixels_is_refused(victim: Server) -> None:
    """By its head, before anybody unpacks it: 413 with the limit's name."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = PNG + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + b"\x00" * 16
    url = "data:image/png;base64," + base64.b64encode(bomb).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    status, answer = post(victim, "/v1/chat/completions", {"messages": [{"role": "user", "content": content}]})
    assert status == 413, answer
    assert "server.max_pixels" in json.dumps(answer)


def test_a_body_is_not_read_beyond_its_limit(victim: Server) -> None:
    """One that tells its size is refused before it comes, one that does not as soon as it is too large."""
    answer = raw(victim, head("Content-Length: 99999999999", path="/completion", method="POST") + b"{")
    assert statuses(answer) == [413]
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = raw(victim, head("Transfer-Encoding: chunked", path="/completion", method="POST") + chunk * 6)
    assert statuses(answer) in ([413], []), answer[:300]


# what must not be seen


def test_no_line_of_the_log_and_no_metric_tells_a_secret(victim: Server) -> None:
    """Prompts, answers, keys and secrets, in every kind of request, refused ones too, at the level `debug`."""
    chat = {"messages": [{"role": "user", "content": PROMPT}]}
    for path, body in (
        ("/completion", {"prompt": PROMPT}),
        ("/completion", {"prompt": PROMPT, "stream": True}),
        ("/completion", {"prompt": PROMPT, "n_predict": PROMPT}),
        ("/v1/chat/completions", chat | {"session_id": "leak"}),
        ("/v1/messages", chat | {"max_tokens": 5}),
        ("/api/chat", chat | {"model": "parrot", "stream": False}),
        ("/api/generate", {"model": "parrot", "prompt": PROMPT, "stream": False}),
        ("/v1/jobs", {"url": "/completion", "body": {"prompt": PROMPT}, "webhook": f"https://example.invalid/{KEY}"}),
        ("/v1/embeddings", {"input": PROMPT}),
        ("/tokenize", {"content": PROMPT}),
        ("/completion", {"prompt": f"[[fail {PROMPT}]]"}),
        ("/completion", ('{"prompt": "' + PROMPT).encode()),
        ("/nowhere", {"prompt": PROMPT}),
    ):
        with contextlib.suppress(json.JSONDecodeError):
            post(victim, path, body)
    post(victim, "/completion", {"prompt": PROMPT}, Authorization=f"Bearer wrong-{KEY}")
    victim.get(f"/v1/models?key={KEY}&prompt=zanzibar", {"Authorization": f"Bearer {KEY}"})
    metrics = victim.get("/metrics", {"Authorization": f"Bearer {KEY}"})[1].decode()
    for text in (victim.log(), metrics):
        for word in (KEY, SECRET, *PROMPT.split()):
            assert word not in text, next(line for line in text.splitlines() if word in line)
    assert '"level":"debug"' in victim.log()
