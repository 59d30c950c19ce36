"""A wire between client and server that can be cut, or that swallows answers."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit


class Proxy:
    """Forwards TCP connections to the server's socket. Set the flags at any time."""

    def __init__(self, url: str) -> None:
        self._path = unquote(urlsplit(url).path)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.swallow = False
        """Requests reach the server, answers get lost."""
        self.stalled = False
        """Nothing goes through, connections stay."""

    async def __aenter__(self) -> Self:
        await self.open()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port)

    async def cut(self) -> None:
        """Refuse new connections and break the old ones."""
        self._server.close()
        self.drop()
        while self._serving:  # who was just connecting has to be dropped once more
            await asyncio.wait(self._serving, timeout=0.1)
            self.drop()
        await self._server.wait_closed()

    async def mend(self) -> None:
        await self.open(self.port)

    def drop(self) -> None:
        """Break the connections that there are."""
        for writer in list(self._writers):
            writer.close()
        for task in self._tasks:
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        self._serving.add(serving)
        try:
            await self._serve(reader, writer)
        finally:
            self._serving.discard(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._path)
        except OSError:  # the server is down
            writer.close()
            return
        self._writers |= {writer, server_writer}
        tasks = {
            asyncio.create_task(self._pump(reader, server_writer, answers=False)),
            asyncio.create_task(self._pump(server_reader, writer, answers=True)),
        }
        self._tasks |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in (writer, server_writer):
            end.close()
            self._writers.discard(end)
        self._tasks -= tasks

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        while chunk := await source.read(65536):
            while self.stalled:
                await asyncio.sleep(0.01)
            if answers and self.swallow:
                continue
            sink.write(chunk)
            await sink.drain()
