"""Requests: their bodies, the addresses in them, and what whoever starts a server says."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.source import Source
from tests.fuzz.target import Target
from velesio import config
from velesio.cli import program
from velesio.errors import BadRequest, ConfigError, Forbidden
from velesio.http import addresses, fetching, sse
from velesio.http.families import family_of
from velesio.http.forms import FORMS
from velesio.http.media import check_pixels, files_of
from velesio.http.ollama import requests as ollama_requests
from velesio.http.reference_pages import PAGES
from velesio.http.sdapi.values import parse
from velesio.http.wire import encode, parse_object
from velesio.queue import wire

_OPERATIONS = [operation for page in PAGES for operation in page.operations]
_EXAMPLES = {
    path: operation.example
    for operation in _OPERATIONS
    for path in operation.paths
    if isinstance(operation.example, dict)
}
_READERS: dict[str, Any] = {path: form.read for path, form in FORMS.items()} | {
    "/api/generate": ollama_requests.read_generate,
    "/api/chat": ollama_requests.read_chat,
    "/api/embed": ollama_requests.read_embed,
    "/api/embeddings": ollama_requests.read_embeddings,
}
_PATHS = sorted(_READERS)
_NAMES = sorted(
    {name for operation in _OPERATIONS for name in operation.fields} | {"role", "content", "type", "text", "url"}
)
_WORDS = (
    "a",
    "user",
    "assistant",
    "text",
    "image_url",
    "data:image/png;base64,",
    "iVBORw0KGgo=",
    "http://x/",
    "é",
    "\0",
    "7",
    "{",
    "",
    "auto",
    "1x1",
)


def _leaf(source: Source) -> Any:
    return source.pick(
        (
            source.text(_WORDS, 4),
            None,
            True,
            False,
            0,
            1,
            -1,
            0.5,
            2**31,
            2**63,
            2**80,
            1e308,
            [],
            {},
            [1, 2],
            ["a"],
            {"type": "text", "text": "x"},
        )
    )


def _ask(path: str, body: bytes) -> None:
    raw = parse(body) if path.startswith("/sdapi") else parse_object(body)
    list(fetching.slots_of(raw))
    asked = _READERS[path](raw)
    params = getattr(asked, "params", None) or ()
    for each in params if isinstance(params, list | tuple) else (params,):
        files_of(each)
        with contextlib.suppress(BadRequest):
            check_pixels(each, 1 << 20)
        wire.read_params(wire.encode(each))


def _read_body(data: bytes) -> None:
    """JSON as it comes; what refuses it can be told to the client, in its family's shape and in a stream."""
    path = _PATHS[data[0] % len(_PATHS)] if data else _PATHS[0]
    try:
        _ask(path, data[1:])
    except BadRequest as refusal:
        frame = sse.event(encode(family_of(path).body(refusal)))
        assert frame.count(b"\n") == 2
        raise


def _build_body(data: bytes) -> None:
    """The route's own example with some of its fields changed, so that what lies behind the first check is reached."""
    source = Source(data)
    path = source.pick(_PATHS)
    body = dict(
        _EXAMPLES.get(path)
        or {"prompt": "x", "model": "m", "messages": [{"role": "user", "content": "x"}], "input": "x"}
    )
    for _ in range(source.number(4)):
        body[source.pick(_NAMES)] = source.json(_leaf, _NAMES, 3)
    _read_body(bytes((_PATHS.index(path),)) + json.dumps(body).encode())


def _bodies() -> Iterator[bytes]:
    for number, path in enumerate(_PATHS):
        yield bytes((number,)) + json.dumps(_EXAMPLES.get(path, {"prompt": "x"})).encode()
    yield b'\0{"a": ' + b"[" * 5000
    yield b'\0{"prompt": "\\ud800"}'


_ADDRESS = (
    *(
        "https://",
        "http://",
        "example.org",
        "a.example.org",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "@",
        ":",
        "443",
    ),
    *(
        "8443",
        "/",
        "?",
        "#",
        "..",
        "%2e",
        "\\",
        " ",
        "xn--",
        "é",
        "ß",
        "\u3002",
        "\uff10",
        "0x7f.1",
        "2130706433",
        "user",
        "[",
        "]",
        "%00",
        "*",
    ),
)
_HOSTS = ("example.org", "*.cdn.example.org", "files.example.org:8443", "[2001:db8::1]", "*")


def _check_address(data: bytes) -> None:
    source = Source(data)
    hosts, private = _HOSTS[: source.number(len(_HOSTS))], source.byte() % 2 == 1
    text = source.text(_ADDRESS, 12) if source.byte() % 2 else source.rest().decode("utf-8", "replace")
    addresses.ENTRY.fullmatch(text)
    addresses.is_public(text)
    url = addresses.allowed(text, hosts, private=private, option="fetch.hosts")
    assert url.scheme in ("https", "http")[: 1 + private]
    assert url.user is None
    host = (url.raw_host or "").rstrip(".").lower()
    assert (
        "*" in hosts
        or any(host == each.split(":")[0] or (each[:2] == "*." and host.endswith(each[1:])) for each in hosts)
        or ":" in host
    )
    if not private:
        is_literal = ":" in host or host.replace(".", "").isdigit()
        assert not is_literal or addresses.is_public(host), host


def _addresses() -> Iterator[bytes]:
    for text in (
        "https://example.org/a.png",
        "https://[2001:db8::1]/",
        "https://127.0.0.1/",
        "https://a.cdn.example.org:443/x?y#z",
    ):
        yield b"\5\0\0" + text.encode()
        yield b"\5\1\0" + text.encode()
    yield from (
        bytes((5, 0, 1, 9, 0, *(part for number in range(start, start + 9) for part in (number, 0))))
        for start in range(30)
    )


_FOLDER = Path(tempfile.mkdtemp(prefix="velesio-fuzz-"))
_SETTINGS = (
    "server",
    "port",
    "=",
    ".",
    "8000",
    "models",
    "0",
    "name",
    "[",
    "]",
    '"',
    "{",
    "keys",
    "token",
    "${env:X}",
    "${file:/dev/null}",
    "limits",
    "tenants",
    "redis",
    "url",
    "queue",
    "weights",
    "x",
    "é",
    "\n",
    "9" * 30,
    "nan",
    "-1",
    "true",
)


def _configure(data: bytes) -> None:
    source = Source(data)
    settings = [source.text(_SETTINGS, 7) for _ in range(source.number(3))]
    names = (
        "VELESIO_SERVER__PORT",
        "VELESIO_MODELS__0__NAME",
        "API_TOKENS",
        "REDIS_HOST",
        "MODEL_URL",
        "GPU_LAYERS",
        "VELESIO_",
        "VELESIO___X",
    )
    environment = {source.pick(names): source.text(_SETTINGS, 4) for _ in range(source.number(3))}
    path = _FOLDER / "config.toml"
    path.write_bytes(source.rest())
    config.load(path, environment, settings)


def _configurations() -> Iterator[bytes]:
    whole = (Path(__file__).parents[2] / "config.toml").read_bytes()
    yield b"\0\0" + whole[:4000]
    yield b"\0\0" + b'[server]\nport = 8000\n[[models]]\nname = "a"\npath = "b.gguf"\ncontext = 8\n'
    yield b"\0\0" + b'[[keys]]\nname = "a"\ntoken = "x"\n[redis]\nurl = "redis://x"\n[queue.weights]\na = 1.0\n'
    yield from (
        bytes((1, 6, *(part for word in (0, 3, 1, 2, number) for part in (word, 0)), 0)) for number in range(28)
    )


_ARGUMENTS = (
    "--set",
    "--config",
    "--role",
    "all",
    "worker",
    "check-config",
    "models",
    "list",
    "jobs",
    "show",
    "x",
    "--limit",
    "-1",
    "keys",
    "create",
    "--help",
    "=",
    "queue",
    "é",
    "",
)


def _parse_arguments(data: bytes) -> None:
    source = Source(data)
    words = [source.pick(_ARGUMENTS) for _ in range(source.number(6))]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        status = 0
        try:
            program.parser().parse_args(words)
        except SystemExit as end:
            status = end.code
    assert status in {0, 2}
    assert status == 0 or told.getvalue().strip()


TARGETS = (
    Target("bodies", _read_body, (BadRequest,), _bodies),
    Target("fields", _build_body, (BadRequest,), lambda: (bytes((n, 2, *range(n, n + 40))) for n in range(0, 200, 9))),
    Target("addresses", _check_address, (Forbidden,), _addresses),
    Target("config", _configure, (ConfigError,), _configurations),
    Target("arguments", _parse_arguments, (), lambda: (bytes((5, *range(n, n + 5))) for n in range(20))),
)
