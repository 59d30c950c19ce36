"""The client of the text bench: a process of its own that sends requests to one server and times what comes back.

Standard input holds one JSON object, standard output answers with one:

    {"port": 8000, "seconds": 60, "requests": [{"path": "/completion", "body": {…}, "after": 0}, …]}
    [{"status": 200, "sent": 0.0, "ended": 1.2, "frames": [[0.1, 1], [0.12, 2], …], "tokens": 64, …}, …]

Every server gets the same raw sockets and as little work here as can be, since client and server share the machine:
while the streams run, chunks are only kept with the time at which they came; they are taken apart afterwards. Times are
seconds since the first request was sent. A frame is an event that shows text, with the tokens generated until then.
"""

import asyncio
import json
import re
import sys
import time
from bisect import bisect_left
from typing import Any, NamedTuple

_EVENT = re.compile(rb"data: ?(.*?)\r?\n\r?\n", re.DOTALL)
_REQUEST = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\nConnection: close\r\n\r\n"
)


class Piece(NamedTuple):
    """What one read from a socket brought."""

    time: float
    data: bytes


class Wire(asyncio.Protocol):
    """One request: keeps what comes, counts its events, knows when the server has closed."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self.pieces: list[Piece] = []
        self.sent = 0.0
        self.events = 0
        self.ended = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport; nothing is sent yet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, request: bytes) -> None:
        """Sends the whole request."""
        assert self._transport is not None
        self.sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Keeps a chunk."""
        self.pieces.append(Piece(time.perf_counter(), data))
        self.events += data.count(b"data: ")
        self._crowd.look()

    def connection_lost(self, _reason: Exception | None) -> None:
        """The server has said everything."""
        self.ended.set()
        self._crowd.look()

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()


class Crowd:
    """The requests that run together; late ones wait until each of those sent has shown some events."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self._wanted = 0
        self._reached = asyncio.Event()

    def look(self) -> None:
        """Whether all that were sent are as far as is waited for."""
        if self._wanted and all(wire.events >= self._wanted or wire.ended.is_set() for wire in self.wires if wire.sent):
            self._reached.set()

    async def wait(self, events: int) -> None:
        """Until each that was sent has shown `events` events, or has ended."""
        self._wanted = events
        self._reached.clear()
        self.look()
        await self._reached.wait()
        self._wanted = 0


async def run(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Sends the requests and tells what came of each, in their order."""
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    asked = order["requests"]
    for _ in asked:  # all connected before the first is sent: they arrive together
        _, wire = await loop.create_connection(lambda: Wire(crowd), "127.0.0.1", order["port"])
        crowd.wires.append(wire)
    try:
        async with asyncio.timeout(order["seconds"]):
            for wire, request in zip(crowd.wires, asked, strict=True):
                if request.get("after"):
                    await crowd.wait(request["after"])
                wire.send(_request(request, order["port"]))
            for wire in crowd.wires:
                await wire.ended.wait()
    except TimeoutError:
        pass  # what did not end has no end below
    finally:
        for wire in crowd.wires:
            wire.close()
    zero = crowd.wires[0].sent
    return [told(wire.pieces, wire.sent, zero) for wire in crowd.wires]


def _request(request: dict[str, Any], port: int) -> bytes:
    body = json.dumps(request["body"]).encode()
    return _REQUEST.format(path=request["path"], port=port, length=len(body)).encode() + body


def told(pieces: list[Piece], sent: float, zero: float) -> dict[str, Any]:
    """What one answer was: status, times since `zero`, frames, token counts; `error` where it was none."""
    raw = b"".join(piece.data for piece in pieces)
    head, _, rest = raw.partition(b"\r\n\r\n")
    status = int(head[9:12]) if head.startswith(b"HTTP/1.") and head[9:12].isdigit() else 0
    found: dict[str, Any] = {"status": status, "sent": sent - zero, "frames": [], "tokens": 0, "prompt": 0, "cached": 0}
    found["ended"] = pieces[-1].time - zero if pieces else 0.0
    chunked = b"transfer-encoding: chunked" in head.lower()
    body, places = dechunked(rest) if chunked else (rest, [])
    if status != 200:
        return found | {"error": body.decode("utf-8", "replace")[:400] or "no answer"}
    times = _Times(pieces, len(head) + 4, places)
    for event in _EVENT.finditer(body):
        if event[1] != b"[DONE]":
            _read(json.loads(event[1]), times.of(event.end()) - zero, found)
    if not found.pop("stopped", False):
        found.setdefault("error", "the stream has no end")
    return found


def _read(event: dict[str, Any], when: float, found: dict[str, Any]) -> None:
    """One event of llama.cpp's own API, or of OpenAI's text completions, which does not count its tokens."""
    if "error" in event:
        found["error"] = str(event["error"])[:400]
    elif "choices" in event:
        for choice in event["choices"]:
            if choice["text"]:
                found["tokens"] += 1
                found["frames"].append([when, found["tokens"]])
            found["stopped"] = found.get("stopped", False) or choice["finish_reason"] is not None
    else:
        if event["content"]:
            found["frames"].append([when, event["tokens_predicted"]])
        if event["stop"]:
            found["stopped"] = True
            found["tokens"] = event["tokens_predicted"]
            found["prompt"] = event["tokens_evaluated"]
            found["cached"] = event.get("timings", {}).get("cache_n", 0)


class _Times:
    """When the byte at a place of the body had come."""

    def __init__(self, pieces: list[Piece], begin: int, places: list[tuple[int, int]]) -> None:
        """`begin`: bytes before the body; `places`: for each chunk, its end in the body and in what was sent."""
        self._times = [piece.time for piece in pieces]
        self._begin = begin
        self._ends: list[int] = []
        sum_of = 0
        for piece in pieces:
            sum_of += len(piece.data)
            self._ends.append(sum_of)
        self._places = places

    def of(self, end: int) -> float:
        """When the body had come up to `end`."""
        if self._places:
            inside, sent = self._places[bisect_left(self._places, (end, 0))]
            end = sent - (inside - end)
        return self._times[bisect_left(self._ends, self._begin + end)]


def dechunked(raw: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """A chunked body without its sizes; and for each chunk, where it ends in the body and in `raw`."""
    parts, places = [], []
    place = length = 0
    while (line := raw.find(b"\r\n", place)) >= 0:
        size = int(raw[place:line].partition(b";")[0] or b"0", 16)
        if not size:
            break
        part = raw[line + 2 : line + 2 + size]
        parts.append(part)
        length += len(part)
        place = line + 2 + size + 2
        places.append((length, min(place - 2, len(raw))))
    return b"".join(parts), places


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
