"""Ollama's descriptions of models, from what workers advertise of them."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from velesio.backends.base import ModelCard
from velesio.states import ModelState

TAG = ":latest"
"""What a name without a tag means; the only tag that models have here unless their own names bring one."""
_FOR_EVER = 100 * 365 * 86400
"""Seconds from now, the time at which a model is unloaded that never is."""
_SUFFIXES = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1000, "K"))


def names_of(asked: str) -> list[str]:
    """The names that a client's name may stand for, the likeliest first."""
    return [asked, asked.removesuffix(TAG)] if asked.endswith(TAG) else [asked]


def tagged(name: str) -> str:
    """A model's name as Ollama lists it."""
    return name if ":" in name else name + TAG


def stamp(nanoseconds: int) -> str:
    """A time as Ollama writes it: RFC 3339 in UTC, to the nanosecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def now() -> str:
    """The present as Ollama writes it."""
    return stamp(time.time_ns())


def tags(cards: Iterable[ModelCard]) -> dict[str, Any]:
    """The answer of `/api/tags`: text models alone."""
    return {"models": [_listed(card) for card in cards if card.capability == "text"]}


def _listed(card: ModelCard) -> dict[str, Any]:
    return {
        "name": tagged(card.name),
        "model": tagged(card.name),
        "modified_at": stamp(card.created * 1_000_000_000),
        "size": _size(card),
        "digest": digest(card),
        "details": details(card),
        "capabilities": capabilities(card),
    }


def running(cards: Iterable[ModelCard], state_of: Callable[[ModelCard], ModelState]) -> dict[str, Any]:
    """The answer of `/api/ps`: those of `cards` that a worker has loaded."""
    states = [(card, state_of(card)) for card in cards]
    return {"models": [_loaded(card, state.expires_at) for card, state in states if state.state == "loaded"]}


def _loaded(card: ModelCard, expires: float | None) -> dict[str, Any]:
    until = time.time() + _FOR_EVER if expires is None else expires
    return {
        "name": tagged(card.name),
        "model": tagged(card.name),
        "size": card.bytes,
        "digest": digest(card),
        "details": details(card),
        "expires_at": stamp(int(until * 1_000_000_000)),
        # Workers do not tell how much of a model is on a GPU.
        "size_vram": 0,
        "context_length": card.context,
    }


def show(card: ModelCard) -> dict[str, Any]:
    """The answer of `/api/show`."""
    architecture = str(card.meta.get("architecture", ""))
    facts = {
        "general.architecture": architecture,
        "general.basename": card.meta.get("title", ""),
        "general.file_type": card.meta.get("ftype", ""),
        "general.parameter_count": card.meta.get("n_params", 0),
        f"{architecture}.context_length": card.meta.get("n_ctx_train", card.context),
        f"{architecture}.embedding_length": card.meta.get("n_embd", 0),
        "tokenizer.ggml.model": card.meta.get("vocab_type", ""),
    }
    template = str(card.meta.get("chat_template", ""))
    return {
        "license": "",
        "modelfile": f"# The template is Jinja, the model's own.\nFROM {card.name}\nPARAMETER num_ctx {card.context}\n",
        "parameters": f"num_ctx                        {card.context}",
        "template": template,
        "system": "",
        "details": details(card),
        "messages": [],
        "model_info": facts,
        "tensors": [],
        "capabilities": capabilities(card),
        "modified_at": stamp(card.created * 1_000_000_000),
    }


def details(card: ModelCard) -> dict[str, Any]:
    """Format, family, parameters and quantization."""
    family = str(card.meta.get("architecture", ""))
    return {
        "parent_model": "",
        "format": "gguf" if card.backend == "llama" else card.backend,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _rounded(int(card.meta.get("n_params", 0))),
        "quantization_level": str(card.meta.get("ftype", "")),
    }


def capabilities(card: ModelCard) -> list[str]:
    """What a model can do, as far as its file tells: `embedding`, or `completion` with what its template knows."""
    if card.meta.get("generates") is False:
        return ["embedding"]
    found = ["completion"]
    if card.meta.get("fills_gaps"):
        found.append("insert")
    template = str(card.meta.get("chat_template", ""))
    if "tools" in template:
        found.append("tools")
    if can_think(card.meta):
        found.append("thinking")
    senses = card.meta.get("modalities") or {}
    return [*found, *(sense for sense in ("vision", "audio") if senses.get(sense))]


def can_think(meta: Mapping[str, Any]) -> bool:
    """Whether a model's template knows of reasoning."""
    template = str(meta.get("chat_template", ""))
    return any(sign in template for sign in ("<think>", "enable_thinking", "reasoning_content", "reasoning_effort"))


def digest(card: ModelCard) -> str:
    """64 hex digits that change with the model's file; made from its name, size and time, since hashing gigabytes
    takes minutes."""
    facts = f"{card.name}\0{card.meta.get('file', '')}\0{card.created}\0{_size(card)}"
    return hashlib.sha256(facts.encode()).hexdigest()


def _size(card: ModelCard) -> int:
    size = card.meta.get("size", 0)
    return size if isinstance(size, int) and size else card.bytes


def _rounded(count: int) -> str:
    """134515008 → 134.52M."""
    for unit, letter in _SUFFIXES:
        if count >= unit:
            return f"{count / unit:.2f}".rstrip("0").rstrip(".") + letter
    return str(count) if count else ""
