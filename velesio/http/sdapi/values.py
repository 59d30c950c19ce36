"""Values of A1111's bodies: coerced as its clients are used to, and refused in the shape of its framework."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, get_origin

import msgspec

from velesio.errors import Unprocessable
from velesio.http.fields import Field, Fields
from velesio.http.wire import FLOAT_MAX

_TRUE = {"1", "true", "t", "yes", "y", "on"}
_FALSE = {"0", "false", "f", "no", "n", "off"}
_LARGEST = 2**63 - 1


class _Wrong(Exception):
    """A value cannot be coerced: what is said of it, and its kind."""

    def __init__(self, said: str, kind: str) -> None:
        super().__init__(said)
        self.kind = kind


def _integer(value: Any) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = _LARGEST + 1
    if abs(found) > _LARGEST:
        raise _Wrong("value is not a valid integer", "type_error.integer")
    return found


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not abs(found) <= FLOAT_MAX:
        raise _Wrong("value is not a valid float", "type_error.float")
    return found


def _text(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    raise _Wrong("str type expected", "type_error.str")


def _flag(value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int | float) else ""
    if word in _TRUE | {"1.0"}:
        return True
    if word in _FALSE | {"0.0"}:
        return False
    raise _Wrong("value could not be parsed to a boolean", "type_error.bool")


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _Wrong("value is not a valid list", "type_error.list")


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _Wrong("value is not a valid dict", "type_error.dict")


_COERCE: Mapping[Any, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: _flag,
    list: _list,
    dict: _object,
}


def coerced(value: Any, kind: Any, loc: list[str | int]) -> Any:
    """A value as the type that a field has.

    Raises:
        Unprocessable: it cannot be one.
    """
    origin = get_origin(kind) or kind
    try:
        found = _COERCE[origin](value) if origin in _COERCE else value
    except _Wrong as wrong:
        raise fault(loc, str(wrong), wrong.kind) from None
    if origin is list and kind is not list and get_origin(kind):
        return [coerced(each, kind.__args__[0], [*loc, index]) for index, each in enumerate(found)]
    return found


def fault(loc: list[str | int], said: str, kind: str) -> Unprocessable:
    """The refusal of one value, at its place in the request."""
    return faults([{"loc": loc, "msg": said, "type": kind}])


def faults(found: list[dict[str, Any]]) -> Unprocessable:
    """The refusal of several."""
    places = ", ".join(".".join(map(str, each["loc"])) for each in found)
    inner = ".".join(map(str, found[0]["loc"][1:]))
    return Unprocessable(f"{places}: {found[0]['msg']}", param=inner or None, details={"detail": found})


def parse(body: bytes) -> dict[str, Any]:
    """A body that must be a JSON object, nulls included.

    Raises:
        Unprocessable: it is none.
    """
    if not body.strip():
        raise fault(["body"], "field required", "value_error.missing")
    try:
        value = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise fault(["body"], f"the body is not valid JSON: {error}", "value_error.jsondecode") from None
    if not isinstance(value, dict):
        raise fault(["body"], "value is not a valid dict", "type_error.dict")
    return value


def read(raw: Mapping[str, Any], fields: Fields, never_null: Collection[str] = ()) -> dict[str, Any]:
    """All of `fields`: as given, else their defaults (None where they have none). Other names are passed over.

    Raises:
        Unprocessable: naming every value that is wrong.
    """
    found, wrong = {}, []
    for name, field in fields.items():
        try:
            found[name] = _one(raw, name, field, never_null=name in never_null)
        except Unprocessable as error:
            wrong += error.details["detail"]
    if wrong:
        raise faults(wrong)
    return found


def _one(raw: Mapping[str, Any], name: str, field: Field, *, never_null: bool) -> Any:
    value = raw.get(name)
    if name not in raw and field.required:
        raise fault(["body", name], "field required", "value_error.missing")
    if value is not None:
        return coerced(value, field.type, ["body", name])
    if name in raw and (never_null or field.required):
        raise fault(["body", name], "none is not an allowed value", "type_error.none.not_allowed")
    return None if field.default is msgspec.UNSET else field.default
