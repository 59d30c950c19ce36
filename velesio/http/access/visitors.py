"""Visitors: who stands at the other end of a connection, and behind which proxies.

What a request says of where it comes from counts only if a proxy says it that the operator trusts
(`server.trusted_proxies`). A request that any proxy has passed on is never one of this machine, whatever address its
connection has: else a proxy on the same host would give the whole world what only loopback clients may.
"""

import functools
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec
from aiohttp import web

from velesio.errors import Forbidden

Network = IPv4Network | IPv6Network

_MOST = 32
"""Proxies on the way of one request."""
_LONGEST = 80
"""Letters of an address, with all that may stand around it."""
_MARKS = (
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server"),
    *("X-Real-IP", "X-Client-IP", "X-Original-Forwarded-For", "True-Client-IP", "CF-Connecting-IP", "Fly-Client-IP"),
)
"""Headers that proxies add."""


class Visitor(msgspec.Struct, frozen=True):
    """Who sends a request."""

    address: str
    """An IP address; empty for a process at a unix socket."""
    secure: bool = False
    """Whether the visitor's own connection is encrypted."""
    local: bool = False
    """Whether it is a process on this machine, for sure."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of a configuration that has been checked."""
    return tuple(ip_network(text) for text in texts)


def visitor_of(peer: object, headers: Mapping[str, str], trusted: Sequence[Network], *, secure: bool) -> Visitor:
    """Who sends a request over a connection from `peer`, as the socket has it, that is `secure` itself."""
    address = _plain(str(peer[0])) if isinstance(peer, tuple) else ""
    if not any(name in headers for name in _MARKS):
        return Visitor(address, secure, is_local(peer))
    if not _is_in(address, trusted):
        return Visitor(address, secure)
    return Visitor(_first_stranger(address, headers, trusted), _scheme(headers, secure=secure))


def _first_stranger(address: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> str:
    """Each proxy adds to the end whom it heard: from there back to the first that is no trusted proxy."""
    text = ",".join(_all(headers, "X-Forwarded-For"))
    for entry in reversed(text.split(",")[-_MOST:]):
        named = _plain(entry.strip())
        if not named:
            break  # whatever stands there was not written by a proxy of ours
        address = named
        if not _is_in(address, trusted):
            break
    return address


def _scheme(headers: Mapping[str, str], *, secure: bool) -> bool:
    told = [text.strip().lower() for value in _all(headers, "X-Forwarded-Proto") for text in value.split(",")]
    return told[-1] == "https" if told else secure


def _all(headers: Mapping[str, str], name: str) -> list[str]:
    many = getattr(headers, "getall", None)
    if many is not None:
        return list(many(name, []))
    return [headers[name]] if name in headers else []


def _plain(text: str) -> str:
    """An address without brackets, port and zone, mapped ones as what they stand for; empty: it is none."""
    return _read(text) if len(text) <= _LONGEST else ""


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> str:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _is_in(address: str, trusted: Sequence[Network]) -> bool:
    return bool(address) and any(ip_address(address) in network for network in trusted)


def is_local(peer: object) -> bool:
    """Whether a socket's peer is on this machine: a loopback address, or the nameless end of a unix socket."""
    if not isinstance(peer, tuple):
        return isinstance(peer, str | bytes)
    return _loops(_plain(str(peer[0])))


@functools.lru_cache(maxsize=4096)
def _loops(address: str) -> bool:
    return bool(address) and ip_address(address).is_loopback


VISITOR = web.RequestKey("visitor", Visitor)


def greet(request: web.Request, trusted: Sequence[Network]) -> Visitor:
    """Notes who sends a request."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    secure = bool(transport and transport.get_extra_info("sslcontext"))
    request[VISITOR] = visitor_of(peer, request.headers, trusted, secure=secure)
    return request[VISITOR]


def check_host(host: str | None, names: Sequence[str]) -> None:
    """Nothing, if a request without a key names this machine as its host: a page of another site, whose name was made
    to stand for a loopback address, names that site. Clients without a Host header are no browsers.

    Raises:
        Forbidden: with the remedy.
    """
    if host is None:
        return
    name = _host_name(host)
    if name == "localhost" or name.endswith(".localhost") or name in names or _is_loopback(name):
        return
    raise Forbidden(
        f"requests without a key are for this machine, and {name[:100]!r} is none of its names: ask for localhost, or "
        "add the name to server.hosts, or configure keys"
    )


def _host_name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
