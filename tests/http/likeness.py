"""Compares documents with captured ones: keys and their order, types, and values where they are the same each time."""

import json
from typing import Any

import msgspec

OURS = {"id", "created", "created_at", "completed_at", "system_fingerprint", "build_info", "owned_by", "aliases"}
"""Values that every server has of its own."""


def differences(
    ours: bytes,
    captured: bytes,
    *,
    values: bool = True,
    free: frozenset[str] = frozenset(),
    more: frozenset[str] = frozenset(),
) -> list[str]:
    """Where two JSON documents differ; empty: they are alike. `values`: numbers and texts are compared too, but for
    those under the keys in `free` and in `OURS`, of which only the type counts. Keys in `more` may be ours alone, if
    they stand after all others."""
    one, two = (json.loads(text, object_pairs_hook=Pairs) for text in (ours, captured))
    _drop(one, two, more)
    return list(_differences(one, two, "$", values=values, free=free | OURS))


class Pairs(list[tuple[str, Any]]):
    """An object, with the order of its keys."""


def _drop(ours: Any, theirs: Any, more: frozenset[str]) -> None:
    """Leaves out what is ours alone, and allowed."""
    if isinstance(ours, Pairs) and isinstance(theirs, Pairs):
        known = {key for key, _ in theirs}
        while ours and ours[-1][0] in more - known:
            ours.pop()
        for (_, one), (_, two) in zip(ours, theirs, strict=False):
            _drop(one, two, more)
    elif isinstance(ours, list) and isinstance(theirs, list):
        for one, two in zip(ours, theirs, strict=False):
            _drop(one, two, more)


def _differences(ours: Any, theirs: Any, path: str, *, values: bool, free: frozenset[str]) -> Any:
    if _kind(ours) != _kind(theirs):
        yield f"{path}: {_kind(ours)} instead of {_kind(theirs)}"
    elif isinstance(theirs, Pairs):
        if [key for key, _ in ours] != [key for key, _ in theirs]:
            yield f"{path}: keys {[key for key, _ in ours]} instead of {[key for key, _ in theirs]}"
            return
        for (key, one), (_, two) in zip(ours, theirs, strict=True):
            yield from _differences(one, two, f"{path}.{key}", values=values and key not in free, free=free)
    elif isinstance(theirs, list):
        if values and len(ours) != len(theirs):
            yield f"{path}: {len(ours)} items instead of {len(theirs)}"
        for index, (one, two) in enumerate(zip(ours, theirs, strict=False)):
            yield from _differences(one, two, f"{path}[{index}]", values=values, free=free)
    elif values and ours != theirs:
        yield f"{path}: {ours!r} instead of {theirs!r}"


def _kind(value: Any) -> str:
    # A double that is whole may be written without its point.
    return "number" if type(value) in {int, float} else type(value).__name__


def json_of(value: Any) -> bytes:
    """`value` as it goes over the wire."""
    return msgspec.json.encode(value)
