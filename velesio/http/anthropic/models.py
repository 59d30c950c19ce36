"""The list of models as Anthropic's SDKs read it, who say by their `anthropic-version` that they do."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from velesio.backends.base import ModelCard


def speaks(headers: Mapping[str, str]) -> bool:
    """Whether it is such an SDK that asks."""
    return "anthropic-version" in headers


def listing(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """All text models, on one page."""
    found = [entry(card) for card in cards if card.capability == "text"]
    first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"data": found, "has_more": False, "first_id": first, "last_id": last}


def entry(card: ModelCard) -> dict[str, Any]:
    """One model."""
    made = f"{datetime.fromtimestamp(card.created, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"type": "model", "id": card.name, "display_name": card.name, "created_at": made}
