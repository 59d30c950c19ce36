"""Downloads: files of models, fetched whole or not at all.

What has come lies beside its place under another name until it is complete and checked; then one rename brings it
there. A download that was cut off, by whatever, goes on where it stopped if the file at the source is still the same.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BufferedRandom
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from velesio import __version__
from velesio.errors import VelesioError

HUB = "hub:"
_CHUNK = 1 << 20
_SAVE = 16 << 20
"""Bytes after which what has come is put on the disk for sure."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^?#]+?)(?:@(?P<revision>[\w./-]+))?")

Report = Callable[[int, int], None]
"""Is told the bytes that are there, and how many there will be (0: not known)."""


class DownloadFailed(VelesioError):
    """The file cannot be fetched."""

    code = "download_failed"


class Source(msgspec.Struct, frozen=True):
    """Where a file is."""

    url: str
    name: str
    """The file's own."""
    sha256: str = ""
    of_hub: bool = False
    """Whether the hub's token may be shown there."""


def source_of(text: str, hub: str = "https://huggingface.co", sha256: str = "") -> Source:
    """What a source means: an address, or `hub:owner/name/file[@revision]`; `#sha256=…` behind it is its checksum.

    Raises:
        DownloadFailed: it means nothing.
    """
    place, _, fragment = text.strip().partition("#")
    known = (sha256 or fragment.removeprefix("sha256=")).lower()
    if known and not _SHA256.fullmatch(known):
        raise DownloadFailed(f"{text}: a checksum is sha256= and 64 hexadecimal digits")
    of_hub = place.startswith(HUB)
    url = _hub_url(place.removeprefix(HUB), hub) if of_hub else place
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DownloadFailed(f"{text}: expected https://…, or hub:owner/name/file")
    name = unquote(parts.path.rpartition("/")[2])
    if not _NAME.fullmatch(name):
        raise DownloadFailed(f"{text}: its last part, {name[:50]!r}, is no name for a file")
    return Source(url, name, known, of_hub or url.startswith(hub.rstrip("/") + "/"))


def _hub_url(text: str, hub: str) -> str:
    found = _HUB.fullmatch(text)
    if found is None:
        raise DownloadFailed(f"hub:{text}: expected hub:owner/name/file, or …/file@revision")
    return f"{hub.rstrip('/')}/{found['repo']}/resolve/{found['revision'] or 'main'}/{found['file']}"


class Facts(msgspec.Struct, frozen=True):
    """What the source says of its file."""

    size: int = 0
    """Bytes; 0: not told."""
    tag: str = ""
    """Changes with the file; empty: not told."""
    sha256: str = ""


class Download:
    """One file on its way."""

    def __init__(self, source: Source, target: Path, *, token: str = "", reserve: int = 0) -> None:
        """`reserve` is how many bytes of the disk stay free."""
        self.source = source
        self.target = target
        self._token = token if source.of_hub else ""
        self._reserve = reserve
        self._part = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")

    async def fetch(self, report: Report = lambda _have, _of: None) -> bool:
        """Have the file at its place. False: it was there.

        Raises:
            DownloadFailed: with the reason. After a wrong checksum nothing is left; after anything else, what has come
                waits for the next try.
        """
        if self.target.exists():
            return False
        try:
            return await self._fetch(report)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DownloadFailed(f"{self._shown}: {error or type(error).__name__}; what has come is kept") from None
        except OSError as error:
            raise DownloadFailed(f"{self.target}: {error.strerror or error}") from None

    async def _fetch(self, report: Report) -> bool:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(self._part, self.target) as part:
            if self.target.exists():  # another process was here meanwhile
                self._drop()
                return False
            await self._fill(part, report)
            await asyncio.to_thread(self._finish, part)
        return True

    @property
    def _shown(self) -> str:
        """The address without what may be secret in it."""
        return self.source.url.partition("?")[0]

    async def _fill(self, part: BufferedRandom, report: Report) -> None:
        have, known = os.fstat(part.fileno()).st_size, self._read_note()
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session,
            self._ask(session, have, known) as (response, told),
        ):
            have = have if response.status == 206 else 0
            facts = self._merged(_facts(response.headers, have), known if have else None, told)
            if have and not _same(facts, known):
                part.truncate(0)
                raise DownloadFailed(f"{self._shown}: the source answers for another file; try again")
            self._check_room(facts.size - have)
            self._note.write_bytes(msgspec.json.encode(facts))
            part.truncate(have)
            part.seek(have)
            await _copy(response, part, have, facts.size, report)
        self._check_size(part, facts)

    @asynccontextmanager
    async def _ask(
        self, session: aiohttp.ClientSession, have: int, known: Facts | None
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, str]]:
        """The file, from where it stopped, and the checksum that the hub tells at its own address before it sends on to
        another, which is not shown the token."""
        headers = {"User-Agent": f"velesio/{__version__}", "Accept-Encoding": "identity"}
        if have and known is not None and known.tag:
            headers |= {"Range": f"bytes={have}-", "If-Range": known.tag}
        url, told = self.source.url, ""
        for _ in range(_REDIRECTS):
            own = {"Authorization": f"Bearer {self._token}"} if self._token and _same_host(url, self.source.url) else {}
            async with session.get(url, headers=headers | own, allow_redirects=False) as response:
                told = told or _hub_sum(response.headers)
                if response.status in {301, 302, 303, 307, 308}:
                    url = str(response.url.join(URL(response.headers.get("Location", ""))))
                    continue
                if response.status not in {200, 206}:
                    raise DownloadFailed(f"{self._shown}: the source answers {response.status} {response.reason}")
                yield response, told
                return
        raise DownloadFailed(f"{self._shown}: more than {_REDIRECTS} redirects")

    def _merged(self, facts: Facts, known: Facts | None, told: str) -> Facts:
        checksum = self.source.sha256 or told or facts.sha256 or (known.sha256 if known else "")
        return msgspec.structs.replace(facts, sha256=checksum)

    def _check_room(self, bytes_: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if bytes_ + self._reserve > free:
            raise DownloadFailed(
                f"{self.target.parent} has {_mib(free)} MiB left; {self.target.name} needs {_mib(bytes_)} more, and "
                f"{_mib(self._reserve)} stay free (downloads.reserve)"
            )

    def _check_size(self, part: BufferedRandom, facts: Facts) -> None:
        part.flush()
        have = os.fstat(part.fileno()).st_size
        if facts.size and have != facts.size:
            raise DownloadFailed(f"{self._shown}: {have} of {facts.size} bytes have come; what has come is kept")

    def _finish(self, part: BufferedRandom) -> None:
        """Checks all of it, and brings it to its place: on the disk first, or a power cut could leave half of it."""
        facts = self._read_note() or Facts()
        expected = self.source.sha256 or facts.sha256
        if expected:
            part.seek(0)
            found = hashlib.file_digest(part, "sha256").hexdigest()
            if found != expected:
                self._drop()
                raise DownloadFailed(f"{self._shown}: its SHA-256 is {found}, not {expected}; nothing is kept of it")
        os.fsync(part.fileno())
        self._part.replace(self.target)
        self._note.unlink(missing_ok=True)
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read_note(self) -> Facts | None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._note.read_bytes(), type=Facts)
        return None

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


_REDIRECTS = 6
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=60.0)


@contextmanager
def _alone(part: Path, target: Path) -> Iterator[BufferedRandom]:
    """The partial file, for this process alone.

    Raises:
        DownloadFailed: another process fetches it.
    """
    file = part.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DownloadFailed(f"{target}: another process is fetching it") from None
    try:
        part.chmod(0o644)
        yield file
    finally:
        if not os.fstat(file.fileno()).st_size and part.exists():
            part.unlink()
            part.with_name(f"{part.name}.json").unlink(missing_ok=True)
        file.close()


async def _copy(response: aiohttp.ClientResponse, part: BufferedRandom, have: int, size: int, report: Report) -> None:
    saved = have
    report(have, size)
    async for chunk in response.content.iter_chunked(_CHUNK):
        await asyncio.to_thread(part.write, chunk)
        have += len(chunk)
        if size and have > size:
            raise DownloadFailed(f"the source sends more than the {size} bytes that it told")
        if have - saved >= _SAVE:
            part.flush()
            await asyncio.to_thread(os.fsync, part.fileno())
            saved = have
        report(have, size)


def _facts(headers: Mapping[str, str], have: int) -> Facts:
    length = headers.get("Content-Length", "")
    size = have + int(length) if length.isdecimal() else 0
    tag = headers.get("ETag", "")
    return Facts(size, "" if tag.startswith("W/") else tag, _hub_sum(headers))


def _hub_sum(headers: Mapping[str, str]) -> str:
    """The checksum that a hub tells: the entity tag of a large file there."""
    tag = headers.get("X-Linked-ETag", "").strip('"').lower()
    return tag if _SHA256.fullmatch(tag) else ""


def _same(facts: Facts, known: Facts | None) -> bool:
    return known is not None and facts.tag == known.tag and (not known.size or facts.size == known.size)


def _same_host(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    return (a.scheme, a.netloc) == (b.scheme, b.netloc)


def _mib(bytes_: int) -> int:
    return max(0, bytes_) // 2**20
