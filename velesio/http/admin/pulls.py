"""Pulls: files of models that operators have fetched over HTTP, and how far each is.

They go into the `models_dir` of the machine whose gateway was asked, which its workers share; these see new files
within seconds.
"""

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict

import msgspec
import structlog
from aiohttp import web

from velesio.config import DownloadSection
from velesio.downloads import Download, DownloadFailed, source_of
from velesio.errors import BadRequest, Conflict, NotFound
from velesio.http.admin import audited
from velesio.http.fields import Fields, given
from velesio.http.gateway import GATEWAY, Gateway
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, convert, json_response, read_object
from velesio.pulls import FOLDERS, folder_for

log = structlog.get_logger("velesio.http")

_AT_ONCE = 2
_REMEMBERED = 20
"""Pulls that have ended and are still told of."""


class Pull(msgspec.Struct):
    """One file on its way; times are unix seconds."""

    id: str
    file: str
    folder: str
    state: str = "waiting"
    """`waiting`, `running`, `done`, `failed` or `cancelled`."""
    have: int = 0
    size: int = 0
    """Bytes; 0: not known yet."""
    began: float = 0.0
    ended: float = 0.0
    reason: str = ""
    """Why it failed."""


class Pulls:
    """Those of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._models = gateway.server.models_dir
        self._section: DownloadSection = gateway.downloads
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._known: OrderedDict[str, Pull] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, source: str, folder: str = "") -> Pull:
        """Have a file fetched; does not wait for it.

        Raises:
            BadRequest: the source or the folder means nothing.
            Conflict: the file is there, or on its way.
        """
        try:
            found = source_of(source, self._section.hub)
        except DownloadFailed as error:
            raise bad_field("source", error.message) from None
        folder = folder or folder_for(found.name)
        if folder not in FOLDERS:
            raise bad_field("folder", f"expected one of {', '.join(FOLDERS)}")
        target = self._models / folder / found.name
        if target.exists():
            raise Conflict(f"{folder}/{found.name} is there; velesio models rm removes it")
        if any((each.folder, each.file) == (folder, found.name) for each in self.all() if not each.ended):
            raise Conflict(f"{folder}/{found.name} is on its way")
        pull = Pull(secrets.token_hex(6), found.name, folder, began=round(time.time(), 3))
        download = Download(found, target, token=self._section.token, reserve=self._section.reserve)
        self._known[pull.id] = pull
        task = asyncio.create_task(self._fetch(pull, download))
        self._tasks[pull.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(pull.id, None))
        return pull

    async def _fetch(self, pull: Pull, download: Download) -> None:
        def told(have: int, size: int) -> None:
            pull.have, pull.size = have, size

        try:
            async with self._room:
                pull.state = "running"
                await download.fetch(told)
            pull.state = "done"
        except asyncio.CancelledError:
            pull.state = "cancelled"
            raise
        except DownloadFailed as error:
            pull.state, pull.reason = "failed", error.message
        except Exception:
            log.exception("a pull failed")
            pull.state, pull.reason = "failed", "internal error; the server's log tells more"
        finally:
            pull.ended = round(time.time(), 3)
            self._forget()

    def _forget(self) -> None:
        ended = [name for name, pull in self._known.items() if pull.ended]
        for name in ended[:-_REMEMBERED]:
            del self._known[name]

    def all(self) -> list[Pull]:
        """The latest first."""
        return list(reversed(self._known.values()))

    async def cancel(self, name: str) -> Pull:
        """Stop one; what has come waits for the next try.

        Raises:
            NotFound
        """
        if name not in self._known:
            raise NotFound(f"no pull is called {name!r}")
        if task := self._tasks.get(name):
            await _ended(task)
        return self._known[name]

    async def close(self) -> None:
        """Stop all."""
        for task in tuple(self._tasks.values()):
            await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


PULLS = web.AppKey("pulls", Pulls)


def setup(app: web.Application) -> None:
    """Ends with the application."""
    app[PULLS] = Pulls(app[GATEWAY])

    async def close(app: web.Application) -> None:
        await app[PULLS].close()

    app.on_cleanup.append(close)


class Order(msgspec.Struct):
    """The fields of an order."""

    source: str
    folder: str = ""


FIELDS: Fields = {
    "source": given(str, "an address, or `hub:owner/name/file`; `#sha256=…` behind it is its checksum", required=True),
    "folder": given(
        str, f"below `server.models_dir`: {', '.join(FOLDERS)}; left out: as the file's name suggests", default=""
    ),
}


async def begin(request: web.Request) -> web.Response:
    """`POST /admin/pulls`: has a file fetched, and does not wait for it."""
    raw = await read_object(request, request.app[GATEWAY].server.max_body)
    order = convert({name: value for name, value in raw.items() if name in FIELDS}, Order)
    pull = request.app[PULLS].begin(order.source, order.folder)
    await audited.note(request, "pull", f"{pull.folder}/{pull.file}")
    return json_response(pull, 202)


async def pulls(request: web.Request) -> web.Response:
    """`GET /admin/pulls`: what is on its way, and what was lately."""
    return json_response({"pulls": request.app[PULLS].all()})


async def cancel(request: web.Request) -> web.Response:
    """`DELETE /admin/pulls/{id}`: stops one."""
    pull = await request.app[PULLS].cancel(request.match_info["id"])
    await audited.note(request, "cancel pull", f"{pull.folder}/{pull.file}")
    return json_response(pull)


ROUTES = [
    web.post("/admin/pulls", begin),
    web.get("/admin/pulls", pulls),
    web.delete("/admin/pulls/{id}", cancel),
]

_EXAMPLE = Pull("3f9a0c11d2e4", "assistant.gguf", "text", "running", 52_428_800, 145_000_000, 1795423600.1)
API = (
    Operation(
        method="POST",
        paths=("/admin/pulls",),
        summary="Has the file of a model fetched into this machine's `models_dir`, and does not wait for it.",
        notes="Workers of this machine serve it within seconds. A download that was cut off goes on where it stopped.",
        fields=FIELDS,
        example={"source": "hub:owner/name/assistant.gguf"},
        answer=lambda: _EXAMPLE,
        statuses=(202,),
        errors=(*OF_EVERY_ROUTE, BadRequest, Conflict),
    ),
    Operation(
        method="GET",
        paths=("/admin/pulls",),
        summary="Files that are on their way, and the last twenty that were.",
        answer=lambda: {"pulls": [_EXAMPLE]},
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="DELETE",
        paths=("/admin/pulls/{id}",),
        summary="Stops one; what has come waits for the next try.",
        answer=lambda: _EXAMPLE,
        errors=(*OF_EVERY_ROUTE, NotFound),
    ),
)
