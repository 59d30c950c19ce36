"""The sections of config.toml as frozen structs, with each option's type, bounds and default."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PositiveInt = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]

Scope = Literal["text", "images", "admin"]
Urgency = Literal["interactive", "normal", "batch"]

_MIB = 1024 * 1024


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
    write_timeout: Seconds = 60.0
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
    rescan: Annotated[float, Meta(ge=0)] = 2.0


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
    wrong_keys: Count = 30
    shared: Literal["auto", "yes", "no"] = "auto"


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
    priority: Urgency = "normal"
    priority_max: Urgency = "normal"


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
