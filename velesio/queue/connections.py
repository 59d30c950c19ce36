"""Connections: how each kind of use reaches the server, whatever form the address has.

`redis://`, `rediss://`, `unix://`, and `redis+sentinel://[user:password@]host:26379,host:26379/master-name[/db]`
(`?sentinel_password=` for the sentinels themselves).
"""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from velesio.errors import ConfigError
from velesio.queue.line import Line

_SHAPE: dict[str, Any] = {"protocol": 3, "legacy_responses": False}
_SENTINEL = "redis+sentinel"


class Address:
    """Where the server is."""

    def __init__(self, url: str, password: str = "", timeout: float = 2.0) -> None:
        """`timeout` in seconds, for connecting and for every reply that does not block.

        Raises:
            ConfigError: for an address of no known form.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix", _SENTINEL}:
            raise ConfigError(
                f"redis.url: {parts.scheme}:… is no address of a Redis or Valkey server; write it as "
                f"redis://host:6379, rediss://host:6379, unix:///path or {_SENTINEL}://host:26379,host:26379/master-name"
            )
        self._url = url
        self._timeout = timeout
        self._password = {"password": password} if password else {}
        self._sentinel = _parse_sentinel(url, password) if parts.scheme == _SENTINEL else None
        place = parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
        self.public = f"{parts.scheme}://{place}"
        """The address without credentials."""

    def commands(self) -> Line:
        """A connection for short commands."""
        return Line(self._client(self._timeout), self._timeout)

    def blocking(self, longest: float) -> Line:
        """A connection for reads that block for up to `longest` s."""
        return Line(self._client(self._timeout), longest + 5)

    def channels(self) -> "redis.asyncio.Redis":
        """A client for subscriptions, which wait for ever."""
        return self._client(None)

    def thread(self) -> "redis.Redis":
        """A synchronous client with one connection, for a thread of its own."""
        options = {**_SHAPE, **self._options(self._timeout), "retry": Retry(NoBackoff(), 0), **self._password}
        if self._sentinel:
            sentinel = Sentinel(  # type: ignore[no-untyped-call]
                self._sentinel.hosts, sentinel_kwargs=self._sentinel.own(self._timeout)
            )
            client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
                self._sentinel.master, **(options | self._sentinel.options)
            )
            return client
        return redis.Redis.from_url(self._url, **options)

    def _client(self, socket_timeout: float | None) -> "redis.asyncio.Redis":
        # No retries in here: the caller knows which commands may be sent twice, the client does not.
        options = {**_SHAPE, **self._options(socket_timeout), "retry": AsyncRetry(NoBackoff(), 0), **self._password}
        if self._sentinel:
            sentinel = AsyncSentinel(  # type: ignore[no-untyped-call]
                self._sentinel.hosts, sentinel_kwargs=self._sentinel.own(self._timeout)
            )
            found: redis.asyncio.Redis = sentinel.master_for(
                self._sentinel.master, **(options | self._sentinel.options)
            )
            return found
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            self._url, max_connections=1, timeout=self._timeout, **options
        )
        return redis.asyncio.Redis.from_pool(pool)

    def _options(self, socket_timeout: float | None) -> dict[str, Any]:
        return {"socket_timeout": socket_timeout, "socket_connect_timeout": self._timeout}


class _SentinelAddress:
    def __init__(self, hosts: list[tuple[str, int]], master: str, options: dict[str, Any], password: str) -> None:
        self.hosts = hosts
        self.master = master
        self.options = options
        self._password = {"password": password} if password else {}

    def own(self, timeout: float) -> dict[str, Any]:
        """Options of the connections to the sentinels themselves."""
        return {"socket_timeout": timeout, "socket_connect_timeout": timeout, **self._password}


def _parse_sentinel(url: str, password: str) -> _SentinelAddress:
    parts = urlsplit(url)
    credentials, _, places = parts.netloc.rpartition("@")
    names = [name for name in parts.path.split("/") if name]
    if not names or not places:
        raise ConfigError(f"redis.url needs hosts and a master: {_SENTINEL}://host:26379,host:26379/mymaster")
    hosts = []
    for place in places.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "26379")
        hosts.append((host.strip("[]"), int(port)))
    user, _, secret = credentials.partition(":")
    options: dict[str, Any] = {"db": int(names[1]) if len(names) > 1 else 0}
    if user:
        options["username"] = unquote(user)
    if secret or password:
        options["password"] = unquote(secret) or password
    own = parse_qs(parts.query).get("sentinel_password", [""])[0]
    return _SentinelAddress(hosts, names[0], options, own)
