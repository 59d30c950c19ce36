"""The configuration: `config.toml`, then the environment, then `--set`; frozen structs, one for each section.

Only the command line and the composition root read a whole `Config`; each part is handed its own section. Every
option's default and meaning stand in `config.toml` at the root of the repository (a test keeps the two alike).
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from velesio.errors import ConfigError

PositiveInt = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]

Scope = Literal["text", "images", "admin"]

_MIB = 1024 * 1024
_SECRET = 24
"""Characters of a secret at least."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of config.toml; a key that no section knows is an error."""


class ServerSection(Section, frozen=True, kw_only=True):
    """`[server]`: the process and its HTTP side."""

    host: str = "127.0.0.1"
    port: Port = 8000
    data_dir: Path = Path("data")
    models_dir: Path = Path("models")
    drain_timeout: Seconds = 30.0
    max_body: PositiveInt = 4 * _MIB
    max_image_body: PositiveInt = 32 * _MIB
    max_headers: PositiveInt = 16 * 1024
    request_timeout: Seconds = 300.0
    background_timeout: Seconds = 86400.0
    keepalive_timeout: Seconds = 75.0
    header_timeout: Seconds = 20.0
    body_timeout: Seconds = 60.0
    max_pixels: PositiveInt = 64 * 1024 * 1024
    hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    sse_ping_interval: Seconds = 15.0
    loading_wait: Annotated[float, Meta(ge=0)] = 0.0
    cors_origins: tuple[str, ...] = ()
    stream_ttl: Seconds = 300.0
    stream_bytes: PositiveInt = 4 * _MIB
    stream_limit: PositiveInt = 16


class PortsSection(Section, frozen=True, kw_only=True):
    """`[ports]`: further ports of the same routes, where clients look for another server by default."""

    llamacpp: Port | Literal["auto"] = "auto"
    llamacpp_origins: tuple[str, ...] = ("*",)
    sdapi: Port | Literal["auto"] = "auto"
    ollama: Port = 0
    unity: Port = 0


class SdapiSection(Section, frozen=True, kw_only=True):
    """`[sdapi]`: A1111's API."""

    lenient: bool = False
    styles: Path = Path("styles.csv")


class RedisSection(Section, frozen=True, kw_only=True):
    """`[redis]`: where the broker is."""

    url: str = ""
    prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]+$")] = "vel"
    password: str = ""
    timeout: Seconds = 2.0
    maxmemory: str = "512mb"


class QueueSection(Section, frozen=True, kw_only=True):
    """`[queue]`: timings and caps."""

    lease: Seconds = 20.0
    beat: Seconds = 5.0
    reclaim_interval: Seconds = 2.0
    max_attempts: PositiveInt = 3
    max_crashes: Count = 1
    retry_delay: Seconds = 1.0
    retry_delay_max: Seconds = 60.0
    cap: PositiveInt = 1000
    tenant_cap: PositiveInt = 100
    deadline: Seconds = 300.0
    result_ttl: Seconds = 3600.0
    answered_ttl: Seconds = 60.0
    failed_ttl: Seconds = 7 * 86400.0
    idempotency_ttl: Seconds = 86400.0
    dead_letters: PositiveInt = 1000
    max_payload: PositiveInt = 64 * 1024
    max_result: PositiveInt = 256 * 1024
    reply_length: PositiveInt = 20_000
    output_length: PositiveInt = 8192
    look_ahead: PositiveInt = 8
    look_ahead_wait: Seconds = 0.2
    memory_reserve: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    weights: dict[str, Annotated[float, Meta(gt=0)]] = {}
    usage_days: PositiveInt = 90
    usage_hours: PositiveInt = 168
    usage_rows: PositiveInt = 10_000
    audit_length: PositiveInt = 10_000


class BlobSection(Section, frozen=True, kw_only=True):
    """`[blobs]`: inputs and results that are too large for a job's record."""

    store: Literal["auto", "broker", "files"] = "auto"
    max_bytes: PositiveInt = 32 * _MIB
    budget: PositiveInt = 256 * _MIB


class WorkerSection(Section, frozen=True, kw_only=True):
    """`[worker]`: what this process computes."""

    id: str = ""
    models: tuple[str, ...] = ()
    memory_budget: Count = 0
    keep_alive: float = -1.0
    preload: bool = True
    step_timeout: Seconds = 300.0


class MonitoringSection(Section, frozen=True, kw_only=True):
    """`[monitoring]`: the port for Prometheus and health checks alone."""

    port: Port = 0
    host: str = "127.0.0.1"
    advertise: str = ""
    tenants: bool = False


class LogSection(Section, frozen=True, kw_only=True):
    """`[log]`: what is written to standard error."""

    level: Literal["debug-content", "debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Limits(Section, frozen=True, kw_only=True, omit_defaults=True):
    """What a key, a tenant or a model may use; None: as the default of its kind says, 0: as much as it likes."""

    requests: Count | None = None
    """In a minute."""
    tokens: Count | None = None
    """In a minute, read and written together."""
    concurrent: Count | None = None
    """Requests at a time."""
    images: Count | None = None
    """Pictures in a day."""
    gpu_seconds: Annotated[float, Meta(ge=0)] | None = None
    """Of engines' time, in a day."""
    month_tokens: Count | None = None
    """In 30 days, as the two that follow."""
    month_images: Count | None = None
    month_gpu_seconds: Annotated[float, Meta(ge=0)] | None = None

    def over(self, default: "Limits") -> "Limits":
        """These, and the default where they say nothing."""
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(default, **own)


class LimitsSection(Section, frozen=True, kw_only=True):
    """`[limits]`: the defaults of each kind, and single models."""

    key: Limits = Limits(requests=60, concurrent=10)
    tenant: Limits = Limits()
    model: Limits = Limits()
    local: Limits = Limits()
    """Of clients on this machine, where no keys are needed."""
    models: dict[str, Limits] = {}
    """By name, over `model`."""


class AccessSection(Section, frozen=True, kw_only=True):
    """`[access]`: keys that are made while the server runs."""

    required: bool = False
    pepper: str = ""
    grace: Annotated[float, Meta(ge=0)] = 86400.0
    on_revoke: Literal["finish", "end"] = "finish"


class WebhookSection(Section, frozen=True, kw_only=True):
    """`[webhooks]`: telling other servers of the ends of background jobs."""

    hosts: tuple[str, ...] = ()
    private: bool = False
    secret: str = ""
    attempts: PositiveInt = 10
    retry_delay: Seconds = 5.0
    retry_delay_max: Seconds = 3600.0
    timeout: Seconds = 10.0


class FetchSection(Section, frozen=True, kw_only=True):
    """`[fetch]`: pictures that requests name by their address."""

    hosts: tuple[str, ...] = ()
    private: bool = False
    max_bytes: PositiveInt = 16 * _MIB
    redirects: Count = 3
    timeout: Seconds = 10.0


class SessionSection(Section, frozen=True, kw_only=True):
    """`[sessions]`: conversations that the server remembers for clients that name one."""

    enabled: bool = True
    ttl: Seconds = 86400.0
    max_bytes: PositiveInt = 256 * 1024
    max_turns: PositiveInt = 200
    limit: PositiveInt = 100
    when_full: Literal["forget", "refuse"] = "forget"


class TracingSection(Section, frozen=True, kw_only=True):
    """`[tracing]`: spans for OpenTelemetry."""

    enabled: bool = False
    endpoint: str = ""
    service: str = "velesio"
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0


class DownloadSection(Section, frozen=True, kw_only=True):
    """`[downloads]`: files that are fetched into `models_dir` before the server starts."""

    text: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    vae: tuple[str, ...] = ()
    hub: str = "https://huggingface.co"
    token: str = ""
    reserve: Count = 256 * _MIB


class KeySection(Section, frozen=True, kw_only=True):
    """`[[keys]]`: one API key."""

    name: str
    token: str = ""
    sha256: str = ""
    tenant: str = "default"
    models: tuple[str, ...] = ("*",)
    scopes: tuple[Scope, ...] = ("text", "images")
    expires: datetime | None = None
    limits: Limits = Limits()


class ModelSection(Section, frozen=True, kw_only=True):
    """`[[models]]`: one model; `options` holds every key that is the backend's own."""

    name: str
    backend: str = "llama"
    path: Path | None = None
    source: str = ""
    sha256: str = ""
    aliases: tuple[str, ...] = ()
    keep_alive: float | None = None
    options: dict[str, Any] = {}


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration, as the command line and the composition root see it."""

    server: ServerSection = ServerSection()
    ports: PortsSection = PortsSection()
    sdapi: SdapiSection = SdapiSection()
    redis: RedisSection = RedisSection()
    queue: QueueSection = QueueSection()
    blobs: BlobSection = BlobSection()
    worker: WorkerSection = WorkerSection()
    monitoring: MonitoringSection = MonitoringSection()
    log: LogSection = LogSection()
    webhooks: WebhookSection = WebhookSection()
    fetch: FetchSection = FetchSection()
    sessions: SessionSection = SessionSection()
    tracing: TracingSection = TracingSection()
    downloads: DownloadSection = DownloadSection()
    access: AccessSection = AccessSection()
    limits: LimitsSection = LimitsSection()
    keys: tuple[KeySection, ...] = ()
    models: tuple[ModelSection, ...] = ()
    backends: dict[str, dict[str, Any]] = {}
    demo: bool = True

    @property
    def blob_folder(self) -> Path | None:
        """Where blobs are files; None: they are in the broker, where workers of other machines find them too."""
        store = self.blobs.store
        if store == "auto":
            store = "broker" if self.redis.url else "files"
        return self.server.data_dir / "blobs" / self.redis.prefix if store == "files" else None


def load(
    path: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    settings: Iterable[str] = (),
) -> Config:
    """The configuration from `path` (default: `config.toml` of the working directory, if it is there), the
    environment (`VELESIO_<SECTION>__<KEY>` and the names of the earlier Velesio server) and `section.key=value`
    settings, the later ones in force.

    Raises:
        ConfigError: naming the place, for anything unknown or of the wrong type.
    """
    raw = _read(path)
    for names, value, place in _from_environment(environment):
        _put(raw, names, value, place)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write it as section.key=value")
        _put(raw, name.strip().split("."), value, f"--set {name}")
    resolved = _resolve(raw, environment, "")
    _gather_model_options(resolved)
    try:
        config = msgspec.convert(resolved, Config, strict=False, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), path)) from None
    _check(config)
    return config


def _read(path: Path | None) -> dict[str, Any]:
    source = path or Path("config.toml")
    if path is None and not source.exists():
        return {}
    try:
        with source.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> Iterable[tuple[list[str], Any, str]]:
    yield from _from_earlier_names(environment)
    for name, value in sorted(environment.items()):
        if name.startswith("VELESIO_") and name != "VELESIO_CONFIG":
            yield name.removeprefix("VELESIO_").lower().split("__"), value, name


_EARLIER_DOWNLOADS = {"MODEL_URL": "text", "SD_MODEL_URL": "checkpoints", "LORA_URL": "loras", "VAE_URL": "vae"}


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
        if not last.isdigit() or int(last) >= len(table):
            raise ConfigError(f"{place}: there is no entry {last!r}")
        table[int(last)] = parsed
    elif isinstance(table, dict):
        table[last] = parsed
    else:
        raise ConfigError(f"{place}: {names[-2]!r} is not a section")


def _enter(table: Any, name: str, place: str) -> Any:
    if isinstance(table, dict):
        return table.setdefault(name, {})
    if isinstance(table, list) and name.isdigit() and int(name) < len(table):
        return table[int(name)]
    raise ConfigError(f"{place}: there is no section {name!r}")


def _parse(text: str) -> Any:
    """A value from the environment or the command line: TOML where that can be meant, else the text itself."""
    if text[:1] in {"[", "{", '"', "'"}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


_REFERENCE = re.compile(r"\$\{(file|env):([^}]+)\}")


def _resolve(value: Any, environment: Mapping[str, str], place: str) -> Any:
    """Replaces `${file:PATH}` and `${env:NAME}` in every string."""
    if isinstance(value, dict):
        return {name: _resolve(item, environment, f"{place}.{name}" if place else name) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, environment, f"{place}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            if name not in environment:
                raise ConfigError(f"{place}: the environment has no variable {name!r}")
            return environment[name]
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{place}: cannot read the secret file {name!r}: {error}") from None

    return _REFERENCE.sub(substitute, value)


def _gather_model_options(raw: dict[str, Any]) -> None:
    """Moves the keys of `[[models]]` that are the backend's into `options`."""
    models = raw.get("models")
    if not isinstance(models, list):
        return
    common = {field.name for field in msgspec.structs.fields(ModelSection)} - {"options"}
    for model in models:
        if isinstance(model, dict):
            own = {name: model.pop(name) for name in list(model) if name not in common | {"options"}}
            model["options"] = {**model.get("options", {}), **own}


def _to_path(kind: type, value: Any) -> Any:
    """msgspec's hook for the one type here that it does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise TypeError(f"expected {kind.__name__}")


_SECTIONS: dict[str, type[Section]] = {
    "": Config,
    "server": ServerSection,
    "ports": PortsSection,
    "sdapi": SdapiSection,
    "redis": RedisSection,
    "queue": QueueSection,
    "blobs": BlobSection,
    "worker": WorkerSection,
    "log": LogSection,
    "webhooks": WebhookSection,
    "fetch": FetchSection,
    "sessions": SessionSection,
    "tracing": TracingSection,
    "downloads": DownloadSection,
    "access": AccessSection,
    "limits": LimitsSection,
    "limits.key": Limits,
    "limits.tenant": Limits,
    "limits.model": Limits,
    "limits.local": Limits,
    "keys": KeySection,
    "models": ModelSection,
}


def _explain(message: str, path: Path | None) -> str:
    """msgspec's message, led by the option's name and, where a key is unknown, with those that would be right."""
    text, _, tail = message.partition(" - at `$")
    where = tail.rstrip("`").removeprefix(".")
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown is None:
        return f"{where or 'configuration'}: {text[0].lower()}{text[1:]}"
    name = unknown.group(1)
    known = [field.name for field in msgspec.structs.fields(_SECTIONS.get(where.partition("[")[0], Config))]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    source = f" (in {path})" if path else ""
    return f"{where}{'.' if where else ''}{name}: there is no such option{source}; {hint}"


def _check(config: Config) -> None:
    """What one field alone cannot tell."""
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


_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_HOST = re.compile(rf"(\*|\*\.{_NAME.pattern}|{_NAME.pattern})(:(\d{{1,5}}|\*))?", re.IGNORECASE)


def _check_hosts(config: Config) -> None:
    for name in config.server.hosts:
        if not _NAME.fullmatch(name):
            raise ConfigError(f'server.hosts: {name!r} is no name of a host; write it like "ai.example.org"')
    for place, hosts in (("webhooks.hosts", config.webhooks.hosts), ("fetch.hosts", config.fetch.hosts)):
        for host in hosts:
            if not _HOST.fullmatch(host):
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
