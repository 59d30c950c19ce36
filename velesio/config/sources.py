"""Where options come from: a file, the environment and `--set`, gathered in one table of raw values."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from velesio.errors import ConfigError

_EARLIER_DOWNLOADS = {"MODEL_URL": "text", "SD_MODEL_URL": "checkpoints", "LORA_URL": "loras", "VAE_URL": "vae"}


def gather(path: Path | None, environment: Mapping[str, str], settings: Iterable[str]) -> dict[str, Any]:
    """Tables of raw values, as TOML would give them; later sources are in force.

    Raises:
        ConfigError: the file cannot be read, or a name leads to no section.
    """
    raw = _read(path)
    for names, value, place in _from_environment(environment):
        _put(raw, names, value, place)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write it as section.key=value")
        _put(raw, name.strip().split("."), value, f"--set {name}")
    return raw


def _read(path: Path | None) -> dict[str, Any]:
    source = path or Path("config.toml")
    if path is None and not source.exists():
        return {}
    try:
        with source.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: it is not UTF-8: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> Iterable[tuple[list[str], Any, str]]:
    yield from _from_earlier_names(environment)
    for name, value in sorted(environment.items()):
        if name.startswith("VELESIO_") and name != "VELESIO_CONFIG":
            yield name.removeprefix("VELESIO_").lower().split("__"), value, name


def _from_earlier_names(environment: Mapping[str, str]) -> Iterable[tuple[list[str], Any, str]]:
    """The variables of the earlier Velesio server, for people who come from it."""
    if tokens := environment.get("API_TOKENS"):
        keys = [
            {"name": f"token-{number}", "token": token.strip()}
            for number, token in enumerate(tokens.split(","), 1)
            if token.strip()
        ]
        yield ["keys"], keys, "API_TOKENS"
    if url := environment.get("REDIS_URL"):
        yield ["redis", "url"], url, "REDIS_URL"
    elif host := environment.get("REDIS_HOST"):
        yield ["redis", "url"], f"redis://{host}" if ":" in host else f"redis://{host}:6379", "REDIS_HOST"
    if password := environment.get("REDIS_PASS"):
        yield ["redis", "password"], password, "REDIS_PASS"
    for name, folder in _EARLIER_DOWNLOADS.items():
        if urls := environment.get(name):
            yield ["downloads", folder], [url.strip() for url in urls.split(",") if url.strip()], name
    if layers := environment.get("GPU_LAYERS"):
        yield ["backends", "llama", "gpu_layers"], layers, "GPU_LAYERS"


def _put(raw: dict[str, Any], names: list[str], value: Any, place: str) -> None:
    table: Any = raw
    for name in names[:-1]:
        table = _enter(table, name, place)
    last = names[-1]
    parsed = _parse(value) if isinstance(value, str) else value
    if isinstance(table, list):
        if not _is_place(last, table):
            raise ConfigError(f"{place}: there is no entry {last!r}")
        table[int(last)] = parsed
    elif isinstance(table, dict):
        table[last] = parsed
    else:
        raise ConfigError(f"{place}: {names[-2]!r} is not a section")


def _enter(table: Any, name: str, place: str) -> Any:
    if isinstance(table, dict):
        return table.setdefault(name, {})
    if isinstance(table, list) and _is_place(name, table):
        return table[int(name)]
    raise ConfigError(f"{place}: there is no section {name!r}")


def _is_place(name: str, table: list[Any]) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(table)


def _parse(text: str) -> Any:
    """A value from the environment or the command line: TOML where that can be meant, else the text itself."""
    if text[:1] in {"[", "{", '"', "'"}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            return text
    return text
