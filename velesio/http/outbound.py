"""Outbound: requests of this server to addresses that its clients name.

A name is resolved once, its addresses are checked, and the connection goes to one that was checked: an answer of the
DNS that changes in between changes nothing. Redirects are never followed here: whoever follows one asks again.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from velesio import __version__
from velesio.http.addresses import is_public

AGENT = f"velesio/{__version__}"


class PrivateAddress(OSError):
    """The name stands for an address that is not of the public internet."""


class Resolver(AbstractResolver):
    """The system's resolver, which answers with public addresses only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            PrivateAddress: one of them is private: such a name is not reached at any of them.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        results = []
        for kind, _, protocol, _, address in found:
            if not is_public(str(address[0])):
                raise PrivateAddress(f"{host} stands for a private address, which is not reached")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing to close."""


class Outbound:
    """A client of other servers. The caller has had each URL `allowed`."""

    def __init__(self, *, private: bool, timeout: float, connections: int = 32) -> None:
        """`private`: whether private addresses may be reached; `timeout` is in seconds, for a whole request."""
        self._private = private
        self._timeout = timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End what is under way."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def ask(
        self, method: str, url: URL, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's head; its body is read inside the block. Nothing of the environment (proxies, .netrc) counts,
        no cookie is kept, and compressed bodies stay as they are.

        Raises:
            OSError, TimeoutError, aiohttp.ClientError: it cannot be reached, or not in time.
        """
        if self._session is None:
            self._session = self._open()
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            yield response

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=None if self._private else Resolver(), use_dns_cache=False, limit=self._connections
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(self._timeout, 10.0)),
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            max_line_size=8190,
            max_field_size=8190,
        )


def public_reason(error: BaseException) -> str:
    """What a client may be told of an address that could not be reached; nothing of the network behind this server."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    cause = error.__cause__ or error.__context__ or error
    if isinstance(error, PrivateAddress) or isinstance(cause, PrivateAddress):
        return str(cause)
    return "it cannot be reached"
