"""A call as a JSON object: its name, its arguments, perhaps its id, under the keys that a format has for them."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, either, literal, member, several


class Keys(NamedTuple):
    """What the keys are called; the first of several names is the one that grammars ask for."""

    name: tuple[str, ...] = ("name",)
    arguments: tuple[str, ...] = ("arguments", "parameters")
    id: tuple[str, ...] = ("id",)
    others: tuple[str, ...] = ("type",)
    """Keys that mean nothing."""


KEYS = Keys()


class _Found(msgspec.Struct):
    """What was read of a call before it could be begun."""

    name: str = ""
    id: object = ""
    arguments: str = "{}"
    is_open: bool = False


def read_call(answer: Answer, keys: Keys = KEYS) -> Reading[bool]:
    """Reads one such object, whose keys may come in any order; False: it is none, or calls no known function."""
    found = _Found()
    if not (yield from answer.accept("{")):
        return False
    while True:
        if not (yield from _read_member(answer, keys, found)):
            return False
        yield from answer.blank()
        separator = yield from answer.accept(",", "}")
        if separator == "}":
            break
        if not separator:
            return found.is_open  # models forget the last brace
    if found.is_open:
        return True
    if not found.name:
        return False
    answer.open_call(found.name, found.id)
    answer.arguments(found.arguments)
    return True


def _read_member(answer: Answer, keys: Keys, found: _Found) -> Reading[bool]:
    key = yield from _read_key(answer, keys)
    if key in keys.arguments:
        return (yield from _read_arguments(answer, found))
    value = (yield from answer.json()) if key else None
    if value is None:
        return False
    if key in keys.name:
        name = _decoded(value)
        found.name = name if isinstance(name, str) and name in answer.functions else ""
        return bool(found.name)
    if key in keys.id:
        found.id = _decoded(value)
    return True


def _read_key(answer: Answer, keys: Keys) -> Reading[str]:
    """A known key and the colon behind it; "": it is another, which no call has."""
    yield from answer.blank()
    known = (*keys.name, *keys.arguments, *keys.id, *keys.others)
    quoted = yield from answer.accept(*(f'"{key}"' for key in known))
    if quoted:
        yield from answer.blank()
        colon = yield from answer.accept(":")
        yield from answer.blank()
        return quoted.strip('"') if colon else ""
    return ""


def _read_arguments(answer: Answer, found: _Found) -> Reading[bool]:
    """Arguments: an object, text that is one, or none."""
    is_object = yield from answer.next_is("{")
    if is_object and found.name:
        answer.open_call(found.name, found.id)
        found.is_open = True
        return (yield from answer.json(answer.arguments)) is not None
    value = yield from answer.json()
    if value is None:
        return False
    decoded = None if is_object else _decoded(value)
    if isinstance(decoded, str):
        value, is_object = decoded or "{}", not decoded or isinstance(_decoded(decoded), dict)
    found.arguments = "{}" if value == "null" else value
    return is_object or value == "null"


def _decoded(text: str) -> object:
    """A JSON value; None also for what is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def read_calls(answer: Answer, keys: Keys = KEYS) -> Reading[bool]:
    """Reads a list of such objects, or a single one."""
    if not (yield from answer.accept("[")):
        return (yield from read_call(answer, keys))
    while True:
        yield from answer.blank()
        if not (yield from read_call(answer, keys)):
            return False
        yield from answer.blank()
        if not (yield from answer.accept(",")):
            yield from answer.accept("]")
            return True


def write_call(
    notation: Notation, function: Function, keys: Keys = KEYS, before: Mapping[str, str] | None = None
) -> str:
    """The grammar for one such object; `before` are keys that come first, with their rules."""
    members = [member(key, rule) for key, rule in (before or {}).items()]
    name = literal(f'"{function.name}"')
    members += [member(keys.name[0], name), member(keys.arguments[0], notation.arguments(function))]
    between = f" {BLANK} {literal(',')} {BLANK} "
    return f"{literal('{')} {BLANK} {between.join(members)} {BLANK} {literal('}')}"


def write_list(calls: list[str], *, parallel: bool) -> str:
    """The grammar for a list of calls, each one of `calls`."""
    items = several(either(calls), f"{BLANK} {literal(',')} {BLANK}", parallel=parallel)
    return f"{literal('[')} {BLANK} {items} {BLANK} {literal(']')}"
