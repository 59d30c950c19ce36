"""Addresses: where this server may be sent by its clients, and who stands behind an IP address.

Pure. A client that names a URL must not reach what only this machine reaches: the allow-list says which hosts there are
at all, and no host may resolve to a private address. Names are resolved once, by the connection itself (`outbound`), so
that nobody can answer differently a moment later.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from yarl import URL

from velesio.config.hosts import ENTRY
from velesio.errors import Forbidden

_LONGEST = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, whatever other address it may stand for."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(each.is_global and not each.is_multicast for each in _meant(found))


def _meant(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address and those that are written into it, to which routers and gateways on the way may deliver."""
    if isinstance(address, IPv4Address):
        return [address]
    meant: list[IPv4Address | IPv6Address] = [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        meant.append(address.sixtofour)
    if address.teredo is not None:
        meant += address.teredo
    if any(address in network for network in _NAT64):
        meant = [IPv4Address(int(address) & 0xFFFFFFFF)]
    return meant


def allowed(text: str, hosts: Iterable[str], *, private: bool, option: str) -> URL:
    """The URL, if its scheme, host and port are among those that the list names; `private` allows private addresses,
    and unencrypted connections with them. `option` is where the list is configured.

    Raises:
        Forbidden: naming what is wrong and the option.
    """
    url = _read(text)
    schemes = ("https", "http") if private else ("https",)
    if url.scheme not in schemes:
        raise Forbidden(f"only {' and '.join(schemes)} addresses are reached ({option})")
    if url.user is not None or url.password is not None:
        raise Forbidden("an address with a name or password in it is not reached")
    host = (url.raw_host or "").lower().rstrip(".")
    if not any(_matches(entry.lower(), url.scheme, host, url.port) for entry in hosts):
        raise Forbidden(f"the host {_shown(host, url)!r} is not allowed: this server's {option} does not name it")
    if not private and _is_literal(host) and not is_public(host):
        raise Forbidden(f"the address {host} is a private one, which is not reached")
    return url


def _read(text: str) -> URL:
    if len(text) > _LONGEST or not text.isprintable() or "\\" in text or " " in text:
        raise Forbidden(f"an address has at most {_LONGEST} printable characters, without blanks or backslashes")
    try:
        url = URL(text)
        port = url.port  # read here, since it may be none
    except (ValueError, IndexError):  # yarl looks for the first character of a host that is not there
        raise Forbidden("this is no address that can be read") from None
    if not url.absolute or not url.raw_host or not port:
        raise Forbidden("expected a whole address, like https://example.org/path")
    return url.with_fragment(None)


def _matches(entry: str, scheme: str, host: str, port: int | None) -> bool:
    found = ENTRY.fullmatch(entry)
    if found is None:
        return False
    ports = found["port"] or str(_DEFAULT_PORTS[scheme])
    if ports not in {"*", str(port)}:
        return False
    name = found["host"].strip("[]")
    if name == "*":
        return True
    if name.startswith("*."):
        return host.endswith(name[1:]) and not host.startswith(".")
    return host == name


def _is_literal(host: str) -> bool:
    """Whether it is an IP address, or may be taken for one: `127.1` and `2130706433` mean 127.0.0.1 to some."""
    return ":" in host or host.replace(".", "").isdigit()


def _shown(host: str, url: URL) -> str:
    return host if url.is_default_port() else f"{host}:{url.port}"
