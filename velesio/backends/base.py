"""The plug-in contract: five methods between Velesio and an inference library.

A package adds a backend by an entry point in the group `velesio.backends` that names a `Factory`. The factory runs at
start, so it imports nothing heavy; `load` does.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import msgspec

from velesio.errors import ConfigError, VelesioError
from velesio.jobs import Capability, Event, Failed, Job


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[models]]` table, as far as it concerns this backend."""

    name: str
    path: Path | None = None
    """A file or folder; relative paths are relative to `models_dir`."""
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    """The table's other keys, over the backend's own section; the backend checks them with `read_options`."""
    place: str = "models"
    """Where the table stands, for messages: `models[0]`."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend is given to find its models."""

    models_dir: Path
    specs: tuple[ModelSpec, ...] = ()
    options: Mapping[str, Any] = {}
    """The section `[backends.<name>]`: defaults for each of its models."""
    demo: bool = True
    """Whether to offer the demo model when nothing else is found."""


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker advertises of a model that it could load."""

    name: str
    backend: str
    capability: Capability
    aliases: tuple[str, ...] = ()
    slots: int = 1
    """Jobs that one engine holds at once."""
    bytes: int = 0
    """Estimated memory when loaded."""
    context: int = 0
    """Tokens that one job may use, prompt and answer together."""
    can_continue: bool = False
    """Whether `Job.sent` is honoured: a lost worker's text goes on elsewhere."""
    created: int = 0
    """Unix seconds, for model lists."""
    meta: dict[str, Any] = {}
    """Facts for model lists (parameters, file type, template …)."""


class Work:
    """One leased job while an engine holds it."""

    __slots__ = ("_emit", "cancelled", "finished", "job", "seconds", "thought_enough")

    def __init__(self, job: Job, emit: Callable[["Work", Event], None]) -> None:
        self.job = job
        self.cancelled = False
        """Set by the event loop, read by the engine between steps; the engine then emits `Cancelled`."""
        self.thought_enough = False
        """Set by the event loop, read by the engine between steps: an answer that is still reasoning ends that now."""
        self.finished = False
        """Set by the engine's runner after the final event."""
        self.seconds = 0.0
        """Its share of the engine's time, as the runner counts it."""
        self._emit = emit

    def emit(self, event: Event) -> None:
        """Hand over an event, in the engine's thread; exactly one final event for each admitted work."""
        self._emit(self, event)


class Finding(msgspec.Struct, frozen=True):
    """One line of what `velesio doctor` tells."""

    subject: str
    text: str
    missing: bool = False
    """Something that is optional is not there."""
    broken: bool = False
    """Something must be mended."""

    @property
    def mark(self) -> str:
        """`ok`, `--` for what is missing, `!!` for what is broken."""
        return "!!" if self.broken else "--" if self.missing else "ok"


class Engine(Protocol):
    """A loaded model. Every call happens on the engine's own thread."""

    def admit(self, work: Work) -> bool:
        """Take `work` into the next steps. False: not now, ask again after a step. A job that cannot be served at
        all gets a `Failed` event and True."""

    def step(self) -> None:
        """Advance all admitted work once. Raising fails the admitted work and rebuilds the engine."""

    def close(self) -> None:
        """Free the model and forget the work that is still admitted; its events no longer count."""


class Backend(Protocol):
    """A family of models behind one inference library."""

    name: ClassVar[str]

    def models(self) -> list[ModelCard]:
        """What could be loaded; cheap, without a GPU and without the inference library."""

    def load(self, card: ModelCard, report: Callable[[float], None]) -> Engine:
        """Load a model, on the engine's thread; `report` takes the part that is done, 0 to 1."""


@runtime_checkable
class Examinable(Protocol):
    """What a backend may have besides: something to tell of its library, its devices and its models."""

    def examine(self) -> Iterable[Finding]:
        """For `velesio doctor`; may import the inference library, loads nothing."""


def failed(error: VelesioError) -> Failed:
    """The final event of a job that cannot be served."""
    details = error.details | ({"param": error.param} if error.param else {})
    return Failed(error.code, error.message, details=details)


Factory = Callable[[Catalogue], Backend]

OptionsT = TypeVar("OptionsT")


def read_options(kind: type[OptionsT], place: str, *layers: Mapping[str, Any]) -> OptionsT:
    """The typed options of a backend or model from untyped tables, later ones first in force.

    Raises:
        ConfigError: naming `place` and the key.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    try:
        return msgspec.convert(merged, kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise ConfigError(f"{place}: {error}. Known options: {known}") from None
