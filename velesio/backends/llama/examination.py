"""Examination: what `velesio doctor` tells of llama.cpp and of how each model would be loaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from velesio.backends.base import Finding
from velesio.backends.llama.binding.devices import Device, devices, features, supports_gpus
from velesio.backends.llama.binding.parameters import context_parameters
from velesio.backends.llama.discovery import Found
from velesio.backends.llama.options import Options, free_memory

_GPU_BUILD = (
    "no GPU that this build of llama.cpp can use; for NVIDIA's: "
    "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python "
    "llama-cpp-python"
)
_FLASH = {-1: "where it works", 0: "off", 1: "on"}


def examine(models: Sequence[Found], models_dir: Path) -> Iterator[Finding]:
    """The devices, then each model with the options in force and what they need."""
    seen = devices()
    for device in seen:
        yield Finding(f"device {device.name}", _described(device))
    yield Finding("llama.cpp", f"uses {features()}")
    gpus = supports_gpus()
    if not gpus:
        yield Finding("gpu build", _GPU_BUILD, missing=True)
    for model in models:
        yield plan(model, gpus=gpus)
        yield _memory(model, seen, gpus=gpus)
        yield from _missing(model, models_dir, gpus=gpus)


def _described(device: Device) -> str:
    if device.kind == "cpu":  # of whose memory llama.cpp calls all of it free
        return f"{device.kind}, {device.description}, {device.total >> 20} MiB"
    size = f", {device.free >> 20} of {device.total >> 20} MiB free" if device.total else ""
    return f"{device.kind}, {device.description}{size}"


def plan(model: Found, *, gpus: bool) -> Finding:
    """How a model would be loaded, with every default resolved."""
    options, card = model.options, model.card
    chosen = context_parameters(options, card.context, model.header.parameters)
    cells = "one pool" if options.kv_unified else "apart"
    facts = [
        _layers(options, model.header.number("block_count"), gpus=gpus),
        f"threads {chosen.n_threads} (prompts {chosen.n_threads_batch})",
        f"batch {chosen.n_batch} in pieces of {chosen.n_ubatch}",
        f"{card.slots} slots of {card.context} tokens, {chosen.n_ctx} cells {cells}",
        f"keys {options.kv_type_k}, values {options.kv_type_v}",
        f"flash attention {_FLASH[chosen.flash_attn_type]}",
        *([f"projector {Path(options.mmproj).name}"] if options.mmproj else []),
    ]
    return Finding(f"model {card.name}", "; ".join(facts))


def _layers(options: Options, layers: int, *, gpus: bool) -> str:
    # The output layer counts as one more.
    on_gpu = (layers + 1 if options.gpu_layers < 0 else min(options.gpu_layers, layers + 1)) if gpus else 0
    split = f", split by {options.split_mode}" if on_gpu and options.split_mode != "none" else ""
    return f"{on_gpu} of {layers + 1} layers on the GPU{split}"


def _memory(model: Found, seen: Sequence[Device], *, gpus: bool) -> Finding:
    weights = model.card.bytes - model.memory
    text = f"needs {model.card.bytes >> 20} MiB: weights {weights >> 20}, contexts and work {model.memory >> 20}"
    free = free_memory()
    if gpus and model.options.gpu_layers:
        spare = sum(device.free for device in seen if device.kind == "gpu")
        return Finding(
            f"model {model.card.name}",
            f"{text}; {spare >> 20} MiB free on GPUs, {free >> 20} beside them",
            missing=model.card.bytes > spare,
        )
    # Weights are mapped from their file: what does not fit is read again and again, but what is allocated must fit.
    return Finding(f"model {model.card.name}", f"{text}; {free >> 20} MiB free", broken=model.memory > free)


def _missing(model: Found, models_dir: Path, *, gpus: bool) -> Iterator[Finding]:
    options, subject = model.options, f"model {model.card.name}"
    for name in ("draft", "chat_template"):
        file = getattr(options, name)
        if file and not (models_dir / file).is_file():
            yield Finding(subject, f"{name}: there is no file {models_dir / file}", broken=True)
    if options.gpu_layers > 0 and not gpus:
        yield Finding(subject, f"gpu_layers = {options.gpu_layers} has no effect without a GPU", missing=True)
    if model.header.generates and not (model.header.chat_template or options.chat_template):
        yield Finding(
            subject, "its file has no chat template; a plain one is used (option chat_template)", missing=True
        )
