"""Checkpoints under the names that A1111's clients have for them."""

from collections.abc import Sequence
from typing import Any

from velesio.backends.base import ModelCard


def title(card: ModelCard) -> str:
    """What clients show and send back: the file's name, where the model is called after it, else the model's."""
    file = str(card.meta.get("file") or card.name)
    return file if file.rpartition(".")[0] == card.name else card.name


def meant(cards: Sequence[ModelCard], name: str) -> str:
    """The model that a title, file, name or alias means, with or without a hash in brackets, in any case; else the
    name itself, which nobody knows. What is called so comes before what only contains it."""
    wanted = name.partition(" [")[0].strip().replace("\\", "/")
    for choice in (wanted, wanted.rpartition("/")[2]):
        for card in cards:
            if choice.lower() in {each.lower() for each in _names(card)}:
                return card.name
    inside = [card.name for card in cards if wanted and wanted.lower() in title(card).lower()]
    return inside[0] if len(inside) == 1 else wanted


def _names(card: ModelCard) -> set[str]:
    return {card.name, *card.aliases, title(card), str(card.meta.get("file") or card.name)}


def described(card: ModelCard) -> dict[str, Any]:
    """A model of `/sdapi/v1/sd-models`. Hashes are known to the workers, and stand in the pictures' texts."""
    return {
        "title": title(card),
        "model_name": card.name,
        "hash": None,
        "sha256": None,
        "filename": str(card.meta.get("file") or card.name),
        "config": None,
    }
