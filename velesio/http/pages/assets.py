"""Assets: the pages' scripts, styles and pictures, compressed once and cached by browsers for as long as they like."""

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from aiohttp import web

from velesio.errors import NotFound

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static/"

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
_FOR_EVER = "public, max-age=31536000, immutable"
_IMPORT = re.compile(r'^(?:import|export)\b[^"]*"(\./[\w./-]+\.js)";$', re.MULTILINE)
_SMALLEST = 256
"""Bytes below which compressing does not pay."""


class Asset(msgspec.Struct, frozen=True):
    """One file, as it is sent."""

    type: str
    body: bytes
    packed: bytes
    """With gzip; empty where that is no shorter."""


class Assets:
    """The files of a folder, under addresses that change when any of them does.

    One hash stands for all of them, as a folder of the address, so that modules can import each other by relative
    names.
    """

    def __init__(
        self, folder: Path = FOLDER, prefix: str = PREFIX, replaced: Mapping[bytes, bytes] | None = None
    ) -> None:
        """`replaced`: what takes the place of some text in any of them."""
        self._prefix = prefix
        self.files: Mapping[str, Asset] = {
            path.relative_to(folder).as_posix(): _read(path, replaced or {})
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }
        whole = hashlib.sha256()
        for name, asset in self.files.items():
            whole.update(name.encode() + b"\0" + hashlib.sha256(asset.body).digest())
        self.version = whole.hexdigest()[:12]

    def address(self, name: str) -> str:
        """Where a file is found; a template that names one that is not there fails."""
        if name not in self.files:
            raise KeyError(name)
        return f"{self._prefix}{self.version}/{name}"

    def modules(self, entry: str) -> list[str]:
        """Addresses of the scripts that a module brings with it, so that a page can ask for all of them at once."""
        found: dict[str, None] = {}
        waiting = [entry]
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = None
                text = self.files[name].body.decode()
                waiting += [imported.removeprefix("./") for imported in _IMPORT.findall(text)]
        return [self.address(name) for name in found]


def _read(path: Path, replaced: Mapping[bytes, bytes]) -> Asset:
    body = path.read_bytes()
    for old, new in replaced.items():
        body = body.replace(old, new)
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= _SMALLEST and path.suffix != ".png" else b""
    return Asset(_TYPES[path.suffix], body, packed if len(packed) < len(body) else b"")


ASSETS = functools.cache(Assets)
"""Those of this installation, read when the first page is asked for."""


async def asset(request: web.Request) -> web.Response:
    """`GET /static/{version}/{name}`: a file. Under another version than the current one, as pages that were opened
    before an upgrade ask for it, it is the current file and not to be kept."""
    return answered(request, ASSETS())


def answered(request: web.Request, assets: Assets) -> web.Response:
    """The answer to a request for a file by `version` and `name`.

    Raises:
        NotFound
    """
    found = assets.files.get(request.match_info["name"])
    if found is None:
        raise NotFound(f"there is nothing at {request.path}")
    current = request.match_info["version"] == assets.version
    headers = {
        "Content-Type": f"{found.type}; charset=utf-8" if found.type.startswith("text/") else found.type,
        "Cache-Control": _FOR_EVER if current else "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if found.packed and takes_gzip(request.headers.get("Accept-Encoding", "")):
        return web.Response(body=found.packed, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=found.body, headers=headers)


def takes_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` has gzip in it."""
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in {"gzip", "*"} and quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return True
    return False


ROUTES = [web.get(PREFIX + "{version}/{name:[a-z0-9_./-]+}", asset)]
