"""LLMUnity's clients as they read: no more forgiving than the originals, which send a request again if they fail."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from tests.sockets import chunks_of, head_of

PIECE = 4090
"""Bytes of a chunk that cpp-httplib hands on at a time: 4,096 with the mark of the chunk."""

SAMPLING = {
    "id_slot": -1,
    "n_keep": 0,
    "temperature": 0.2,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.05,
    "n_predict": -1,
    "typical_p": 1,
    "repeat_penalty": 1.1,
    "repeat_last_n": 64,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "mirostat": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "seed": 0,
    "ignore_eos": False,
    "n_probs": 0,
    "cache_prompt": True,
}
"""What version 3 sends with every prompt."""

OLDER = SAMPLING | {
    "stop": [],
    "tfs_z": 0,
    "penalize_nl": True,
    "penalty_prompt": "",
    "messages": [],
    "grammar": "",
}
"""What version 2 sends."""


NOTHING: Mapping[str, str] = {}


class Broken(Exception):
    """The client could not read what came; it would try again."""


class ServerError(Exception):
    """The client was told of an error in words that it knows."""


class Native:
    """Version 3: cpp-httplib, which hands each chunk on as it comes, and a reader that takes each for one event."""

    def __init__(self, port: int, added: Mapping[str, str] = NOTHING) -> None:
        """`added`: headers that a proxy would add."""
        self._port = port
        self._added = _lines(added)
        self.events: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        return "".join(event["content"] for event in self.events)

    def ask(self, path: str, body: dict[str, Any] | None) -> Any:
        """The answer to a request that is not streamed."""
        status, answer = self._request(path, None if body is None else body | {"stream": False})
        if status >= 400:
            raise ServerError(_error(json.loads(answer)))
        return json.loads(answer)

    def complete(self, prompt: str, stop_after: int = 0, **fields: Any) -> dict[str, Any]:
        """Streams a completion, up to so many events; the last one."""
        body = SAMPLING | {"prompt": prompt, "stream": True} | fields

        def take(piece: bytes) -> bool:
            self._event(piece)
            return not stop_after or len(self.events) < stop_after

        status, answer = self._request("/completion", body, take)
        if status >= 400:
            raise ServerError(_error(json.loads(answer)))
        return self.events[-1]

    def _event(self, piece: bytes) -> None:
        try:
            said = piece.decode().removeprefix("data: ").rstrip("\r\n")
            if said == "[DONE]":
                raise Broken("[DONE]")
            event = json.loads(said)
        except ValueError as error:
            raise Broken(f"no event: {piece!r}") from error
        if "error" in event:
            raise ServerError(_error(event))
        if not isinstance(event["content"], str) or not all(type(token) is int for token in event.get("tokens", [])):
            raise Broken(f"wrong types: {event}")
        self.events.append(event)

    def _request(
        self, path: str, body: dict[str, Any] | None, take: Callable[[bytes], bool] | None = None
    ) -> tuple[int, bytes]:
        payload = b"" if body is None else json.dumps(body).encode()
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Content-Type: application/json",
            f"Accept: {'text/event-stream' if take else 'application/json'}",
            "Cache-Control: no-cache",
            "Connection: close",
            f"Content-Length: {len(payload)}",
            *self._added,
        ]
        if path == "/health":
            head.append("User-Agent: cpp-httplib/0.35.0")
        waits = len(payload) >= 1024
        if waits:
            head.append("Expect: 100-continue")
        with socket.create_connection(("127.0.0.1", self._port), 60) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode())
            reader = connection.makefile("rb")
            if waits:
                assert reader.readline().startswith(b"HTTP/1.1 100"), "the body was not asked for"
                assert reader.readline() == b"\r\n"
            connection.sendall(payload)
            return _answer(reader, take)


def _lines(headers: Mapping[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def _answer(reader: BufferedReader, take: Callable[[bytes], bool] | None) -> tuple[int, bytes]:
    head = head_of(reader)
    pieces = _pieces(reader) if head.is_chunked else _plain(reader)
    if head.status >= 400 or take is None:
        return head.status, b"".join(pieces)
    for piece in pieces:
        if not take(piece):
            break
    return head.status, b""


def _pieces(reader: BufferedReader) -> Iterator[bytes]:
    for chunk in chunks_of(reader):
        yield from (chunk[start : start + PIECE] for start in range(0, len(chunk), PIECE))


def _plain(reader: BufferedReader) -> Iterator[bytes]:
    while piece := reader.read1(PIECE):
        yield piece


def _error(answer: dict[str, Any]) -> str:
    """An error whose code is no number is not seen at all."""
    error = answer["error"]
    if type(error["code"]) is not int:
        raise Broken(f"the code of {error} is no number")
    return str(error["message"])


class Web:
    """Versions 1 and 2: Unity's web requests; the text so far is read again whenever more has come."""

    AGENT = "UnityPlayer/2022.3.20f1 (UnityWebRequest/1.0, libcurl/8.5.0-DEV)"

    def __init__(self, port: int, added: Mapping[str, str] = NOTHING) -> None:
        self._port = port
        self._added = _lines(added)
        self.texts: list[str] = []
        """What the game was shown, longer each time."""

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a request that is not streamed."""
        with self._response(path, body) as (status, pieces):
            answer = b"".join(pieces)
        if status >= 400:
            raise ServerError(_error(json.loads(answer)))
        return json.loads(answer)

    def complete(self, prompt: str, stop_after: int = 0, **fields: Any) -> str:
        """Streams a completion, for so many pieces at most; its text."""
        with self._response("/completion", OLDER | {"prompt": prompt, "stream": True} | fields) as (status, pieces):
            if status >= 400:
                raise ServerError(_error(json.loads(b"".join(pieces))))
            text = ""
            for piece in pieces:
                text += piece.decode()
                self.texts.append(self._read(text))
                if stop_after and len(self.texts) >= stop_after:
                    break
        return self.texts[-1]

    def _read(self, text: str) -> str:
        if not text.startswith("data: "):
            raise Broken(f"not the begin of a stream: {text[:80]!r}")
        parts = text.replace("\n\n", "").split("data: ")[1:]
        try:
            events = json.loads('{"data":[' + ",".join(parts) + "]}")["data"]
        except ValueError as error:
            raise Broken(f"no events: {text[-200:]!r}") from error
        for event in events:
            if "error" in event:
                raise ServerError(_error(event))
        return "".join(event["content"] for event in events)

    @contextmanager
    def _response(self, path: str, body: dict[str, Any]) -> Iterator[tuple[int, Iterator[bytes]]]:
        payload = json.dumps(body).encode()
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            f"User-Agent: {self.AGENT}",
            "Accept: */*",
            "Accept-Encoding: deflate, gzip",
            "Content-Type: application/json",
            "X-Unity-Version: 2022.3.20f1",
            f"Content-Length: {len(payload)}",
            *self._added,
        ]
        with socket.create_connection(("127.0.0.1", self._port), 60) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + payload)
            reader = connection.makefile("rb")
            head = head_of(reader)
            if head.is_chunked:
                yield head.status, _pieces(reader)
            else:
                yield head.status, iter([reader.read(int(head.headers["content-length"]))])
