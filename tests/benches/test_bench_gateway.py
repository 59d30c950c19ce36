"""The gateway bench: its client, its arithmetic, one short run of the whole."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import benches.__main__
from benches import gateway
from benches.gateway import Streams, Turn
from benches.gateway_client import Line, Refused, Stream, flood, request, streams


@asynccontextmanager
async def serving(answer: bytes, *, piece: int = 1 << 20) -> AsyncIterator[int]:
    """The port of a server that says the same to whatever it is asked, in pieces."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                for start in range(0, len(answer), piece):
                    writer.write(answer[start : start + piece])
                    await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize("piece", [3, 1000])
async def test_an_answer_is_whole_however_it_comes(piece: int) -> None:
    """Its length tells where it ends, and the next one begins there."""
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", piece=piece) as port:
        _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
        for _ in range(2):
            assert await line.ask(request("GET", "/", port, "k")) == b"hello"
        line.close()
        done, seconds = await flood(port, request("GET", "/", port, "k"), 2, 0.05)
        assert done > 0
        assert seconds >= 0.05


async def test_a_refusal_is_no_answer() -> None:
    """What is measured must be what was asked for."""
    async with serving(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n") as port:
        _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
        with pytest.raises(Refused, match="429"):
            await line.ask(request("GET", "/", port, "k"))
        line.close()


async def test_tokens_tell_how_late_they_came() -> None:
    """From the moment that stands in them, on the clock that all processes of a machine share."""
    stamp = time.monotonic_ns() // 1000 - 5000
    said = b'HTTP/1.1 200 OK\r\n\r\ndata: {"delta":{"content":"%d "}}\n\ndata: [DONE]\n\n' % stamp
    async with serving(said) as port:
        [stream] = await streams(port, request("GET", "/", port, "k"), 1, 0.0)
        assert isinstance(stream, Stream)
        assert stream.finished
        [(_, late)] = stream.late
        assert 5 <= late < 5000


def test_ratios_are_of_medians() -> None:
    """Against the bare handler, over the rounds."""

    def turn(ms: float, jobs: float) -> Turn:
        return Turn(
            models_p50_ms=ms,
            job_p50_ms=2 * ms,
            job_p99_ms=0,
            models_per_s=0,
            models_cpu_us=0,
            jobs_per_s=jobs,
            job_cpu_us=0,
        )

    one = Streams(count=1, finished=1, tokens=1, seconds=1, p50_ms=1, p99_ms=7.0, worst_ms=9, cores={})
    found = gateway._ratios([turn(1, 10), turn(3, 30), turn(2, 20)], [turn(1, 0)], one)
    assert (found.models_p50_vs_bare, found.job_p50_vs_bare, found.job_added_ms) == (2, 2, 2)
    assert (found.jobs_per_s, found.streams_p99_ms) == (20, 7.0)


def test_a_quick_run_measures_everything(tmp_path, capsys) -> None:
    """Both servers, both requests, the streams to their ends; the JSON has a number for each claim."""
    file = tmp_path / "found.json"
    assert benches.__main__.main(["gateway", "--quick", "--streams", "10", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert all(value > 0 for value in found["ratios"].values())
    assert found["streams"]["finished"] == 10
    assert "bare aiohttp" in capsys.readouterr().out
