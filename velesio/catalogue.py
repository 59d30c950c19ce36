"""The catalogue: which backends the configuration asks for, each with the models that are its own."""

import ipaddress
import socket
from collections import defaultdict

from velesio import pulls
from velesio.backends import plugins
from velesio.backends.base import Backend, Catalogue, ModelCard, ModelSpec
from velesio.config import Config
from velesio.errors import ConfigError

STANDARD = ("llama", "diffusion")
"""Backends that look for models even where no `[[models]]` table names them."""


def backends(config: Config) -> list[Backend]:
    """The backends that have a model to serve.

    Raises:
        ConfigError: naming the table, for an unknown backend, option or file.
    """
    tables: dict[str, list[ModelSpec]] = defaultdict(list)
    for number, model in enumerate(config.models):
        tables[model.backend].append(
            ModelSpec(
                name=model.name,
                path=pulls.place_of(model, config.downloads.hub),
                aliases=model.aliases,
                options=model.options,
                place=f"models[{number}]",
            )
        )
    unknown = set(config.backends) - set(plugins.names())
    if unknown:
        raise ConfigError(f"backends.{min(unknown)}: no such backend; installed are {', '.join(plugins.names())}")
    found = [_backend(config, name, tuple(tables[name])) for name in dict.fromkeys([*tables, *STANDARD])]
    _check_names([card for backend in found for card in backend.models()])
    return [backend for backend in found if backend.models()]


def _backend(config: Config, name: str, specs: tuple[ModelSpec, ...]) -> Backend:
    return plugins.factory(name)(
        Catalogue(
            models_dir=config.server.models_dir,
            specs=specs,
            options=config.backends.get(name, {}),
            demo=config.demo and not config.models,
        )
    )


def _check_names(cards: list[ModelCard]) -> None:
    seen: dict[str, ModelCard] = {}
    for card in cards:
        for name in (card.name, *card.aliases):
            if name in seen and seen[name] is not card:
                raise ConfigError(f"models: {name!r} names both {seen[name].name!r} and {card.name!r}")
            seen[name] = card


def check_exposure(config: Config) -> None:
    """Refuses an address that others can reach while there are no keys.

    Raises:
        ConfigError: with the remedy.
    """
    if not config.keys and not config.access.required and not is_loopback(config.server.host):
        raise ConfigError(
            f"server.host = {config.server.host!r} can be reached from other machines, and there are no keys: add a "
            'key ([[keys]] name = "…" token = "…", or API_TOKENS=…), or have access.required = true and make keys by '
            "`velesio keys create`, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether every address of `host` is this machine's own."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None)  # noqa: S104 - empty means all interfaces to aiohttp
    except OSError as error:
        raise ConfigError(f"server.host = {host!r}: {error.strerror}") from None
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)
