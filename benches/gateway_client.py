"""The gateway bench's client: raw HTTP/1.1 over kept connections, so that it costs little beside what it measures."""

import asyncio
import re
import time
from collections.abc import Sequence

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_STAMP = re.compile(rb'"(\d{9,}) "')
"""A token of the echo model's clock: monotonic microseconds."""


class Refused(Exception):
    """The server answered something else than 200."""


def request(method: str, path: str, port: int, key: str, body: bytes = b"") -> bytes:
    """One request, as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._end = -1
        self._waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collects an answer."""
        self._heard += data
        if self._end < 0 and (head := self._heard.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._heard, 0, head + 2)
            self._end = head + 4 + (int(length.group(1)) if length else 0)
        if 0 <= self._end <= len(self._heard) and self._waiter is not None:
            answer, self._heard, self._end = bytes(self._heard), bytearray(), -1
            self._waiter.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Fails whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError())

    async def ask(self, sent: bytes) -> bytes:
        """The answer's body.

        Raises:
            Refused
        """
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(sent)
        answer = await self._waiter
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Refused(answer[:2000].decode(errors="replace"))
        return answer.partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


async def connect(port: int) -> Line:
    """A connection to this machine."""
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


async def serially(port: int, sent: bytes, count: int) -> list[float]:
    """Milliseconds of so many requests, one after the other over one connection, after a few that do not count."""
    line = await connect(port)
    times = []
    for number in range(-20, count):
        began = time.perf_counter()
        await line.ask(sent)
        if number >= 0:
            times.append((time.perf_counter() - began) * 1000)
    line.close()
    return times


async def flood(port: int, sent: bytes, connections: int, seconds: float) -> tuple[int, float]:
    """Requests answered with so many under way, and the seconds that it took."""
    lines = [await connect(port) for _ in range(connections)]
    end = time.perf_counter() + seconds
    done = 0

    async def ask(line: Line) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await line.ask(sent)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*map(ask, lines))
    took = time.perf_counter() - began
    for line in lines:
        line.close()
    return done, took


class Stream(asyncio.Protocol):
    """One stream of the echo model's clock, and how late each token came."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self.late: list[tuple[float, float]] = []
        """Monotonic seconds of arrival, and milliseconds since the token was made."""
        self.head = b""
        self.finished = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        """Notes when each token came."""
        now = time.monotonic()
        self.head = self.head or data
        self.late += [(now, now * 1e3 - int(stamp) / 1e3) for stamp in _STAMP.findall(data)]
        if b"[DONE]" in data:
            self.finished = True
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """The stream is over, whole or not."""
        if not self.ended.done():
            self.ended.set_result(None)


async def streams(port: int, sent: bytes, count: int, opening: float) -> Sequence[Stream]:
    """So many streams to their ends, opened one by one over so many seconds."""
    loop, begun = asyncio.get_running_loop(), []
    began = loop.time()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + opening * number / count - loop.time()))
        _, stream = await loop.create_connection(lambda: Stream(sent), "127.0.0.1", port)
        begun.append(stream)
    await asyncio.gather(*(stream.ended for stream in begun))
    return begun
