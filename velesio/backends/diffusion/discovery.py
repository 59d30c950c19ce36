"""Which checkpoints there are: configured ones, those in `models_dir/checkpoints`, else the demo model.

Nothing is loaded: heads of files and configurations say enough.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from velesio.backends.base import Catalogue, ModelCard, ModelSpec, read_options
from velesio.backends.diffusion import blueprint, library
from velesio.backends.diffusion.blueprint import Blueprint
from velesio.backends.diffusion.library import Library
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.samplers import SAMPLERS
from velesio.backends.diffusion.schedules import SCHEDULES
from velesio.errors import ConfigError, ModelLoadFailed

DEMO_NAME = "velesio-demo"
DEMO_FOLDER = Path(__file__).parent / "demo"

_SECTION = "backends.diffusion"
_SAFE, _PICKLE = (".safetensors",), (".ckpt",)
_WORKING = 192
"""Bytes of working memory for each pixel of one row, by and large."""

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A checkpoint that can be loaded."""

    card: ModelCard
    path: Path
    options: Options
    library: Library
    plan: Blueprint | None
    """None: a pickle, which says nothing until it is loaded."""


def discover(catalogue: Catalogue) -> list[Found]:
    """Every checkpoint, configured ones first.

    Raises:
        ConfigError: for a configured model that is not there or is damaged; found ones are left out with a warning.
    """
    models = [_configured(spec, catalogue) for spec in catalogue.specs]
    taken = {name for model in models for name in (model.card.name, *model.card.aliases)}
    known = {model.path.resolve() for model in models}
    for path in _checkpoints(catalogue):
        name = path.stem if path.is_file() else path.name
        if name not in taken and path.resolve() not in known and (found := _in_folder(name, path, catalogue)):
            taken.add(name)
            models.append(found)
    if not models and catalogue.demo and (demo := demo_file()):
        models.append(_model(ModelSpec(name=DEMO_NAME, aliases=("demo",), place=_SECTION), demo, catalogue))
    return models


def demo_file() -> Path | None:
    """The demo checkpoint, if it ships with this copy."""
    return next(iter(sorted(DEMO_FOLDER.glob("*.safetensors"))), None)


def is_folder(path: Path) -> bool:
    """Whether a folder is a diffusers model with weights."""
    return (path / "unet" / "config.json").exists() and any((path / "unet").glob("*.safetensors"))


def _checkpoints(catalogue: Catalogue) -> list[Path]:
    place = catalogue.models_dir / "checkpoints"
    if not place.is_dir():
        return []
    pickles = _options(ModelSpec(name="", place=_SECTION), catalogue).allow_pickle
    endings = (*_SAFE, *_PICKLE) if pickles else _SAFE
    folders = [path for path in sorted(place.iterdir()) if path.is_dir() and is_folder(path)]
    files = [
        path
        for path in sorted(place.rglob("*"))
        if path.suffix.lower() in endings
        and not path.name.endswith(library.BESIDE)
        and not any(folder in path.parents for folder in folders)
    ]
    return [*files, *folders]


def _configured(spec: ModelSpec, catalogue: Catalogue) -> Found:
    if spec.path is None:
        path = demo_file() if spec.name == DEMO_NAME else None
        if path is None:
            raise ConfigError(f"{spec.place}: give the path of the checkpoint's file or folder")
    else:
        path = _find(spec, spec.path, catalogue.models_dir)
    return _model(spec, path, catalogue)


def _find(spec: ModelSpec, path: Path, models_dir: Path) -> Path:
    places = [path] if path.is_absolute() else [models_dir / path, models_dir / "checkpoints" / path]
    for place in places:
        if place.exists():
            return place
    raise ConfigError(f"{spec.place}: there is no file {places[0]}")


def _in_folder(name: str, path: Path, catalogue: Catalogue) -> Found | None:
    try:
        return _model(ModelSpec(name=name, place=_SECTION), path, catalogue)
    except ConfigError as error:
        if str(path) not in error.message:
            raise
        _log.warning("left out: %s", error.message)
        return None


def _options(spec: ModelSpec, catalogue: Catalogue) -> Options:
    return read_options(Options, spec.place, catalogue.options, spec.options)


def _model(spec: ModelSpec, path: Path, catalogue: Catalogue) -> Found:
    options = _options(spec, catalogue)
    shelves = library.look((catalogue.models_dir, DEMO_FOLDER), allow_pickle=options.allow_pickle)
    plan = _plan(spec, path, options)
    return Found(_card(spec, path, options, shelves, plan), path, options, shelves, plan)


def _plan(spec: ModelSpec, path: Path, options: Options) -> Blueprint | None:
    if path.suffix.lower() in _PICKLE:
        if options.allow_pickle:
            return None
        raise ConfigError(
            f"{spec.place}: {path} is a pickle; set allow_pickle = true, or better convert it to safetensors"
        )
    try:
        return blueprint.read(path)
    except ModelLoadFailed as error:
        raise ConfigError(f"{spec.place}: {error.message}") from None


def _card(spec: ModelSpec, path: Path, options: Options, shelves: Library, plan: Blueprint | None) -> ModelCard:
    weights = plan.bytes if plan else path.stat().st_size
    size = options.native or (plan.size if plan else 512)
    return ModelCard(
        name=spec.name,
        backend="diffusion",
        capability="image",
        aliases=spec.aliases,
        slots=options.slots,
        bytes=_memory(options, weights, size),
        created=int(path.stat().st_mtime),
        meta={
            "family": plan.family.name if plan else "",
            "size": size,
            "multiple": plan.factor if plan else 8,
            "inpaints": bool(plan and plan.inpaints),
            "file": path.name,
            "bytes": weights,
            "max_pixels": options.max_pixels,
            "max_batch": options.max_batch,
            "max_steps": options.max_steps,
            "samplers": [sampler.name for sampler in SAMPLERS],
            "schedules": [schedule.label for schedule in SCHEDULES],
            **_names(shelves),
        },
    )


def _names(shelves: Library) -> dict[str, Any]:
    return {
        "vaes": sorted(shelves.vaes.files),
        "loras": sorted(shelves.loras.files),
        "controls": sorted(shelves.controls.files),
        "embeddings": sorted(shelves.embeddings.files),
        "upscalers": sorted(shelves.upscalers.files),
    }


def _memory(options: Options, weights: int, size: int) -> int:
    """Weights in the format that they are loaded in, and what a few rows of the usual size need."""
    wide = options.dtype == "float32" or (options.dtype == "auto" and options.device in {"auto", "cpu"})
    return weights * (2 if wide else 1) + min(options.slots * 2, 8) * size * size * _WORKING
