"""Fields of request bodies as data: what a route reads, what it passes over, what it refuses.

The tables in docs/api and the OpenAPI document are made from this, and refusals are carried out from it, so that no
page can promise what the code does not keep. A module of a family has, beside the struct that it reads into:

    FIELDS = of(Body, seed="-1 draws one") | {"grammar": given(str, "GBNF"), "audio": refused("spoken answers are")}

`of` takes types and defaults from the struct and wants a note for each of its fields; `given` is for fields that are
read by hand; `passed` for those that are accepted without effect; `refused` for those that `refuse` turns down. What a
route does with them and what it answers stands in an `Operation` (velesio.http.operations).
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from velesio.errors import BadRequest, Unsupported

Fate = Literal["honoured", "no effect", "refused"]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a body."""

    type: Any = Any
    """As msgspec reads it; JSON schemas are made from it."""
    note: str = ""
    default: Any = msgspec.UNSET
    """What it is if it is left out; UNSET: nothing in particular."""
    required: bool = False
    fate: Fate = "honoured"
    asks: Callable[[Any], bool] = bool
    """Of a refused field: whether a value asks for something. Clients send many fields with values that do not."""
    instead: str = "leave the field out"
    """Of a refused field: what to do."""
    final: bool = False
    """Of a refused field: whether it is a mistake of the client (400) and not a gap of this server (501)."""


Fields = Mapping[str, Field]


def of(struct: type[msgspec.Struct], **notes: str) -> dict[str, Field]:
    """The fields of a struct that a body is read into, with a note for each.

    Raises:
        TypeError: a field has no note, or a note no field.
    """
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    if known.keys() != notes.keys():
        raise TypeError(f"notes for {struct.__name__}: {sorted(known.keys() ^ notes.keys())} lack a note or a field")
    return {
        name: Field(
            type=known[name].type, note=notes[name], default=_default(known[name]), required=known[name].required
        )
        for name in notes
    }


def _default(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return msgspec.UNSET if field.default is msgspec.NODEFAULT or field.default is None else field.default


def given(type: Any, note: str, *, default: Any = msgspec.UNSET, required: bool = False) -> Field:  # noqa: A002
    """A field that is read by hand."""
    return Field(type=type, note=note, default=default, required=required)


def passed(note: str, type: Any = Any) -> Field:  # noqa: A002
    """A field that is accepted and changes nothing."""
    return Field(type=type, note=note, fate="no effect")


def refused(
    what: str, asks: Callable[[Any], bool] = bool, *, instead: str = "leave the field out", final: bool = False
) -> Field:
    """A field that is turned down if its value asks for something: `what` ("pictures are") not supported."""
    return Field(note=what, fate="refused", asks=asks, instead=instead, final=final)


def unless(*idle: Any) -> Callable[[Any], bool]:
    """Asks for something unless it is empty or one of these."""
    return lambda value: bool(value) and value not in idle


def refuse(raw: Mapping[str, Any], fields: Fields) -> None:
    """Nothing, if the body asks for nothing that is refused.

    Raises:
        Unsupported: naming the field.
        BadRequest: the same, for a mistake.
    """
    for name in raw:
        field = fields.get(name)
        if field is not None and field.fate == "refused" and field.asks(raw[name]):
            kind = BadRequest if field.final else Unsupported
            raise kind(f"Field '{name}': {field.note} not supported; {field.instead}", param=name)
