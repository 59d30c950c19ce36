"""Options that must fit together: what the type of one alone cannot tell."""

import re
from ipaddress import ip_network

from velesio.config.hosts import ENTRY, NAME
from velesio.config.sections import Config
from velesio.errors import ConfigError

_SECRET = 24
"""Characters of a secret at least."""


def check(config: Config) -> None:
    """Refuse options that contradict each other, or are written in a form that their type does not tell.

    Raises:
        ConfigError: naming them and how to write them.
    """
    for number, key in enumerate(config.keys):
        if bool(key.token) == bool(key.sha256):
            raise ConfigError(f"keys[{number}]: give either token or sha256")
        if key.expires is not None and key.expires.tzinfo is None:
            raise ConfigError(f"keys[{number}]: expires needs a time zone, like 2027-01-31T00:00:00Z")
    names = [name for model in config.models for name in (model.name, *model.aliases)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"models: the name {name!r} is used twice")
    _check_ports(config)
    _check_origins(config)
    _check_hosts(config)
    if config.queue.beat * 2 > config.queue.lease:
        raise ConfigError("queue.beat must be at most half of queue.lease, else leases run out between two beats")
    if config.blobs.max_bytes > config.blobs.budget:
        raise ConfigError("blobs.max_bytes must be at most blobs.budget, which one blob alone could exceed otherwise")


def _check_ports(config: Config) -> None:
    named = {"server.port": config.server.port, "ports.ollama": config.ports.ollama, "ports.unity": config.ports.unity}
    usual = {"ports.llamacpp": config.ports.llamacpp, "ports.sdapi": config.ports.sdapi}
    named |= {name: port for name, port in usual.items() if port != "auto"}
    taken: dict[int, str] = {}
    for name, port in named.items():
        if port and port in taken:
            raise ConfigError(f"{name} and {taken[port]} are both {port}: give each a port of its own, or 0 for none")
        taken[port] = name


_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+/?")


def _check_origins(config: Config) -> None:
    for place, origins in (
        ("server.cors_origins", config.server.cors_origins),
        ("ports.llamacpp_origins", config.ports.llamacpp_origins),
    ):
        for origin in origins:
            if origin not in {"*", "localhost"} and not _ORIGIN.fullmatch(origin):
                raise ConfigError(f'{place}: {origin!r} is no origin; write it like "https://example.org:8443"')


def _check_hosts(config: Config) -> None:
    for name in config.server.hosts:
        if not NAME.fullmatch(name):
            raise ConfigError(f'server.hosts: {name!r} is no name of a host; write it like "ai.example.org"')
    for place, hosts in (("webhooks.hosts", config.webhooks.hosts), ("fetch.hosts", config.fetch.hosts)):
        for host in hosts:
            if not ENTRY.fullmatch(host):
                raise ConfigError(f'{place}: {host!r} is no host; write it like "example.org" or "*.example.org:8443"')
    for network in config.server.trusted_proxies:
        try:
            ip_network(network)
        except ValueError as error:
            raise ConfigError(f'server.trusted_proxies: {error}; write it like "10.0.0.0/8"') from None
    if config.webhooks.hosts and not config.webhooks.secret:
        raise ConfigError("webhooks.secret is needed to sign what goes to webhooks.hosts: 24 characters at least")
    if config.webhooks.secret and len(config.webhooks.secret) < _SECRET:
        raise ConfigError(f"webhooks.secret has {len(config.webhooks.secret)} characters; at least {_SECRET} are safe")
