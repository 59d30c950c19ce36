"""What surrounds every handler: ids, refusals in the right shape, keys, the log."""

import asyncio
import base64
import gzip
from typing import Any

import pytest
import structlog

from tests.http.conftest import Site, StartSite, counted
from velesio import logs
from velesio.config import KeySection, ServerSection
from velesio.http.access.visitors import is_local

KEYS = (
    KeySection(name="game", token="key-of-the-game", tenant="studio"),
    KeySection(name="narrow", token="key-for-tiny", models=("tiny*",)),
)
NATIVE = "/completion"
OPENAI = "/v1/chat/completions"
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        (NATIVE, b"{x", 400, "invalid_request_error", "line 1, column 2"),
        (NATIVE, b"", 400, "invalid_request_error", "empty"),
        (NATIVE, b"[]", 400, "invalid_request_error", "object"),
        (NATIVE, {}, 400, "invalid_request_error", "'prompt'"),
        (NATIVE, {"prompt": 5}, 400, "invalid_request_error", "'prompt'"),
        (NATIVE, {"prompt": "x", "temperature": "hot"}, 400, "invalid_request_error", "'temperature'"),
        (NATIVE, {"prompt": "x", "model": "parot"}, 404, "not_found_error", "parrot"),
        (NATIVE, {"prompt": "x", "image_data": [{"id": 1}]}, 501, "not_supported_error", "'image_data'"),
        (NATIVE, {"prompt": "w " * 9, "model": "tiny"}, 400, "exceed_context_size_error", "8"),
        (NATIVE, b'{"prompt": "' + b"x" * 5000 + b'"}', 413, "invalid_request_error", "4096"),
        ("/nothing", {}, 404, "not_found_error", "File Not Found"),
    ],
)
async def test_native_refusals(start_site: StartSite, path: str, body: Any, status: int, kind: str, words: str) -> None:
    """The code is the status as an integer, the message says what to do."""
    site = await start_site(server=ServerSection(max_body=4096))
    response = await site.post(path, body)
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["X-Request-ID"]
    assert response.headers["Server"] == "velesio"
    error = response.json()["error"]
    assert (error["code"], error["type"]) == (status, kind)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param", "words"),
    [
        (OPENAI, b"{x", 400, "invalid_request", None, "line 1, column 2"),
        (OPENAI, {}, 400, "invalid_request", "messages", "required"),
        (OPENAI, {"messages": [{"role": "user", "content": 5}]}, 400, "invalid_request", "messages[0].content", ""),
        (OPENAI, CHAT | {"temperature": "hot"}, 400, "invalid_request", "temperature", "a number"),
        (OPENAI, CHAT | {"model": "parot"}, 404, "model_not_found", "model", "parrot"),
        (OPENAI, CHAT | {"audio": {"voice": "x"}}, 501, "not_supported", "audio", "not supported"),
        (
            OPENAI,
            {"messages": [{"role": "user", "content": "w " * 9}], "model": "tiny"},
            400,
            "context_length_exceeded",
            None,
            "8",
        ),
        (OPENAI, b'{"prompt": "' + b"x" * 5000 + b'"}', 413, "body_too_large", None, "4096"),
        ("/v1/nothing", {}, 404, "not_found", None, "/v1/nothing"),
        ("/v1/models", {}, 405, "method_not_allowed", None, "GET"),
    ],
)
async def test_openai_refusals(
    start_site: StartSite, path: str, body: Any, status: int, code: str, param: str | None, words: str
) -> None:
    """The code is a word, the param a path into the body."""
    site = await start_site(server=ServerSection(max_body=4096))
    response = await site.post(path, body)
    assert response.status == status
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert words in error["message"]


async def test_a_body_that_hides_its_size_is_refused_too(start_site: StartSite) -> None:
    """Chunked, without Content-Length."""
    site = await start_site(server=ServerSection(max_body=4096))

    async def chunks() -> Any:
        for _ in range(10):
            yield b" " * 1000

    async with site.client.post(site.address + NATIVE, data=chunks()) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == 413


async def test_a_body_that_tells_its_size_is_refused_before_it_comes(site: Site) -> None:
    """The answer does not wait for a gigabyte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{")
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", "application/json; charset=x"]
)
async def test_the_content_type_does_not_matter(site: Site, content_type: str) -> None:
    """curl -d sends a form's; what parses is accepted."""
    response = await site.post(NATIVE, b'{"prompt": "one"}', Content_Type=content_type)
    assert response.json()["content"] == "one"


@pytest.mark.parametrize(
    ("path", "body"),
    [(NATIVE, {"prompt": "x"}), (OPENAI, CHAT), ("/models", None), ("/metrics", None), ("/none", None)],
)
async def test_keys_are_asked_for_everywhere(start_site: StartSite, path: str, body: Any) -> None:
    """Missing and wrong keys are 401 in the family's shape, also where there is nothing."""
    site = await start_site(keys=KEYS)
    before = counted("velesio_rejected_total", reason="invalid_api_key")
    method = "POST" if body else "GET"
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = await site.ask(method, path, body or b"", **headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert "key-of" not in response.body.decode()
        error = response.json()["error"]
        assert error["code"] == ("invalid_api_key" if path == OPENAI else 401)
    assert counted("velesio_rejected_total", reason="invalid_api_key") == before + 2
    basic = base64.b64encode(b"x:key-of-the-game").decode()
    for headers in (
        {"Authorization": "Bearer key-of-the-game"},
        {"Authorization": "key-of-the-game"},
        {"X-Api-Key": "key-of-the-game"},
        {"Authorization": f"Basic {basic}"},
    ):
        assert (await site.ask(method, path, body or b"", **headers)).status == (404 if path == "/none" else 200)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/v1/health", "/"])
async def test_health_needs_no_key(start_site: StartSite, path: str) -> None:
    """Probes have none; the front page tells nothing without one."""
    site = await start_site(keys=KEYS)
    response = await site.get(path)
    assert response.status == 200
    assert "parrot" not in response.body.decode()


async def test_a_key_sees_and_uses_its_models_only(start_site: StartSite) -> None:
    """Others are hidden in lists and forbidden to ask."""
    site = await start_site(keys=KEYS)
    key = {"Authorization": "Bearer key-for-tiny"}
    for path in ("/models", "/v1/models"):
        listed = (await site.get(path, **key)).json()
        assert [model["id"] for model in listed["data"]] == ["tiny"]
        assert [model["name"] for model in listed["models"]] == ["tiny"]
    assert (await site.get("/v1/models/parrot", **key)).status == 404
    assert (await site.post(NATIVE, {"prompt": "x", "model": "parrot"}, **key)).status == 403
    default = await site.post(NATIVE, {"prompt": "one"}, **key)
    assert default.json()["model"] == "tiny"
    assert "parrot" not in (await site.get("/", **key)).body.decode()
    assert "parrot" not in (await site.get("/queue/status", **key)).body.decode()


async def test_a_job_belongs_to_the_tenant_of_its_key(start_site: StartSite) -> None:
    """So that shares and limits count it."""
    site = await start_site(keys=KEYS)
    response = await site.post(NATIVE, {"prompt": "x"}, Authorization="Bearer key-of-the-game")
    record = await site.gateway.queue.record(response.headers["X-Velesio-Job-Id"])
    assert record is not None
    assert record.tenant == "studio"


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1_2.3:4", True), ("a" * 128, True), ("a" * 129, False), ("a b", False)]
)
async def test_request_ids(site: Site, given: str, kept: bool) -> None:
    """A sound one is kept, any other replaced."""
    returned = (await site.get("/livez", X_Request_ID=given)).headers["X-Request-ID"]
    assert (returned == given) is kept
    assert returned


@pytest.mark.parametrize("path", ["/completion", "/v1/models", "/nothing"])
async def test_options_are_answered_and_allow_no_origin(start_site: StartSite, path: str) -> None:
    """Without a key, as a browser's preflight has none; no origin is configured."""
    site = await start_site(keys=KEYS)
    response = await site.ask("OPTIONS", path, Origin="http://a.b")
    assert response.status == 200
    assert response.body == b""
    assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_an_unexpected_exception_tells_only_the_id(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON with the request's id; the traceback is in the log, the body is not."""

    def broken(*_: object) -> None:
        raise RuntimeError("the secret of the server")

    monkeypatch.setattr(site.gateway.registry, "find", broken)
    with structlog.testing.capture_logs() as lines:
        response = await site.post(NATIVE, {"prompt": "the secret of the client"}, X_Request_ID="find-me")
    assert response.status == 500
    assert "find-me" in response.json()["error"]["message"]
    assert "secret" not in response.body.decode()
    (failed,) = [line for line in lines if line["event"] == "handler failed"]
    assert failed["exc_info"]
    assert "of the client" not in str(lines)


async def test_a_log_line_for_each_request(start_site: StartSite) -> None:
    """Route, status and time; never the query, the prompt or the key. Probes are for debugging."""
    site = await start_site(keys=KEYS)
    with structlog.testing.capture_logs(processors=[logs.merge]) as lines:
        await site.post(
            "/completion?token=hidden",
            {"prompt": "whispered"},
            X_Request_ID="r1",
            Authorization="Bearer key-of-the-game",
        )
        await site.post("/nothing/at/all", {}, Authorization="Bearer key-of-the-game")
        await site.get("/livez")
        await asyncio.sleep(0)
    requests = [line for line in lines if line["event"] == "request"]
    first, second, third = requests
    assert (first["route"], first["status"], first["method"], first["log_level"]) == (
        "/completion",
        200,
        "POST",
        "info",
    )
    assert first["request_id"] == "r1"
    assert (first["tenant"], first["key"]) == ("studio", "game")
    assert len(first["job_id"]) == 32
    assert first["ms"] >= 0
    assert (second["route"], second["status"]) == ("unmatched", 404)
    assert third["log_level"] == "debug"
    assert "tenant" not in third
    assert not [word for word in ("hidden", "whispered", "key-of-the-game") if word in str(lines)]


async def test_requests_are_counted_by_route(site: Site) -> None:
    """By the template, so that ids make no new series."""
    before = counted("velesio_requests_total", route="/v1/models/{id}", code="200")
    for name in ("parrot", "bird", "org/bird"):
        assert (await site.get(f"/v1/models/{name}")).json()["id"] == "parrot"
    assert counted("velesio_requests_total", route="/v1/models/{id}", code="200") == before + 3


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.8.8.8", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        (("::ffff:10.0.0.1", 5, 0, 0), False),
        (("fe80::1%eth0", 5, 0, 2), False),
        (("10.0.0.1", 5), False),
        (("nonsense", 5), False),
        ("", True),
        (b"", True),
        (None, False),
    ],
)
def test_who_is_on_this_machine(peer: object, local: bool) -> None:
    """Loopback of both families, mapped addresses, unix sockets; a peer that is gone is nobody."""
    assert is_local(peer) is local


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b'{"prompt": "one"}'), 200),
        ("gzip", b"garbage", 400),
        ("gzip", gzip.compress(b" " * 10_000_000), 413),
        ("identity", b'{"prompt": "one"}', 200),
    ],
    ids=["packed", "garbage", "a bomb", "plain"],  # what is packed tells the time
)
async def test_compressed_bodies(site: Site, encoding: str, body: bytes, status: int) -> None:
    """They are unpacked, up to the limit; what cannot be unpacked is the client's fault."""
    response = await site.post(NATIVE, body, Content_Encoding=encoding)
    assert response.status == status
    assert (response.headers.get("Connection") == "close") is (status != 200)


async def test_refusals_before_the_queue_are_counted(site: Site) -> None:
    """By reason; a job that fails later is none of them."""
    before = counted("velesio_rejected_total", reason="model_not_found")
    await site.post(NATIVE, {"prompt": "x", "model": "parot"})
    assert counted("velesio_rejected_total", reason="model_not_found") == before + 1
    failed = counted("velesio_rejected_total", reason="job_failed")
    await site.post(NATIVE, {"prompt": "[[fail broken]]x"})
    assert counted("velesio_rejected_total", reason="job_failed") == failed
