"""How a `Config` is made of its sources, or refused with the place of the mistake."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from velesio.config.consistency import check
from velesio.config.mistakes import explain
from velesio.config.references import resolve
from velesio.config.sections import Config, ModelSection
from velesio.config.sources import gather
from velesio.errors import ConfigError


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
    try:
        resolved = resolve(gather(path, environment, settings), environment)
        _gather_model_options(resolved)
        config = msgspec.convert(resolved, Config, strict=False, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigError(explain(str(error), path)) from None
    except RecursionError:
        raise ConfigError("the configuration has tables too deep within each other") from None
    check(config)
    return config


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
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # nobody's home
            raise ValueError(str(error)) from None
    raise TypeError(f"expected {kind.__name__}")
