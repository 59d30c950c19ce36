"""JSON schemas as grammars: what the grammar allows is valid against the schema. Pure.

A grammar may allow less than the schema does: properties come in the order in which they are declared, and others only
where `additionalProperties` asks for them. What it cannot hold an answer to is refused.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from velesio.backends.llama import json_number
from velesio.backends.llama.json_keywords import checked, refused
from velesio.backends.llama.json_names import other_name
from velesio.backends.llama.json_pattern import PatternError, string_of
from velesio.backends.llama.json_rules import FORMATS, Rules, constant
from velesio.backends.llama.json_values import ASSERTIONS, NothingValidError, is_valid, merged, types_of

Schema = dict[str, Any] | bool

MAX_VISITS = 20_000
"""Schemas that are looked at, each as often as others bring it in."""
MAX_DEPTH = 60
"""Schemas within each other."""

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_HINTS = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Keywords by which a schema without a type is understood."""
_REFUSED = (
    "not",
    "if",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
)


def to_gbnf(schema: Schema) -> str:
    """The grammar for the JSON texts that are valid against `schema`.

    Raises:
        BadRequest: naming the place and the keyword that a grammar cannot follow.
    """
    rules = to_rules(schema)
    root = rules.pop("root")
    return "".join(f"{name} ::= {text}\n" for name, text in {"root": root, **rules}.items())


def to_rules(schema: Schema, prefix: str = "", pointer: str = "#") -> dict[str, str]:
    """The same as rules by name, for the part of `schema` that `pointer` refers to; it is called `root`. All names
    begin with `prefix`, but for those that mean the same in every grammar.

    Raises:
        BadRequest: as above.
    """
    try:
        return _Converter(schema, prefix).convert(pointer)
    except NothingValidError as error:
        raise refused(error.place, error.why) from None
    except RecursionError:
        raise refused("schema", "it is nested too deeply") from None


class _Converter:
    """Turns one schema into rules."""

    def __init__(self, schema: Schema, prefix: str) -> None:
        self._root = schema
        self._rules = Rules(prefix)
        self._refs: dict[str, str] = {}
        self._depth = 0
        self._visits = 0

    def convert(self, pointer: str) -> dict[str, str]:
        part = self._root if pointer == "#" else {"$ref": pointer}
        self._rules.put("root", self._visit(part, "schema"))
        return self._rules.texts

    def _visit(self, schema: Any, place: str) -> str:
        """The name of the rule for a schema."""
        self._depth += 1
        self._visits += 1
        if self._visits > MAX_VISITS:
            raise refused(place, "it has too many combinations")
        if self._depth > MAX_DEPTH:
            raise refused(place, f"more than {MAX_DEPTH} schemas within each other")
        try:
            return self._expression(schema, place)
        finally:
            self._depth -= 1

    def _expression(self, schema: Any, place: str) -> str:
        if schema is True or schema == {}:
            return self._rules.built_in("value")
        if schema is False:
            raise NothingValidError(place, "nothing is valid there")
        if not isinstance(schema, dict):
            raise refused(place, "a schema is an object, true or false")
        schema = checked(schema, place)
        if "$ref" in schema:
            return self._ref(schema, place)
        self._check(schema, place)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                return self._combined(schema, keyword, place)
        if "const" in schema or "enum" in schema:
            return self._constants(schema, place)
        return self._of_types(schema, place)

    def _check(self, schema: Mapping[str, Any], place: str) -> None:
        for keyword in _REFUSED:
            if keyword in schema:
                raise refused(f"{place}.{keyword}", "a grammar cannot hold an answer to that; leave it out")
        types = schema.get("type", [])
        for name in types if isinstance(types, list) else [types]:
            if name not in _TYPES:
                raise refused(f"{place}.type", f"there is no type {name!r}; known are {', '.join(_TYPES)}")

    def _ref(self, schema: Mapping[str, Any], place: str) -> str:
        pointer = schema["$ref"]
        target = self._resolve(pointer, place)
        beside = {key: value for key, value in schema.items() if key not in {"$ref", "$defs", "definitions"}}
        if any(key in ASSERTIONS for key in beside):
            if not isinstance(target, dict):
                return self._visit(target if target is False else beside, place)
            return self._visit(self._merge([target, beside], place), place)
        if pointer not in self._refs:
            name = f"ref-{len(self._refs)}"
            self._refs[pointer] = self._rules.put(name, "")  # keeps its place while it refers to itself
            self._rules.put(name, self._visit(target, pointer))
        return self._refs[pointer]

    def _resolve(self, pointer: str, place: str) -> Any:
        if not (pointer == "#" or pointer.startswith("#/")):
            raise refused(f"{place}.$ref", f"{pointer[:100]!r} is not looked up; only '#/...' in the schema itself is")
        found: Any = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key in map(str, range(len(found))):
                found = found[int(key)]
            else:
                raise refused(f"{place}.$ref", f"there is nothing at {pointer[:100]!r}")
        return found

    def _followed(self, schema: Any, place: str) -> Any:
        """A schema with the references at its top replaced by what they refer to."""
        for _ in range(MAX_DEPTH):
            if not (isinstance(schema, dict) and isinstance(schema.get("$ref"), str)):
                return schema
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            target = self._resolve(schema["$ref"], place)
            schema = merged([target, beside], place) if beside and isinstance(target, dict) else target
        raise refused(f"{place}.$ref", "it refers to itself")

    def _merge(self, schemas: Sequence[Any], place: str) -> Any:
        return merged([self._followed(schema, place) for schema in schemas], place)

    def _combined(self, schema: Mapping[str, Any], keyword: str, place: str) -> str:
        parts = schema[keyword]
        if not isinstance(parts, list) or not parts:
            raise refused(f"{place}.{keyword}", "expected a list of schemas")
        base = {key: value for key, value in schema.items() if key != keyword and key in ASSERTIONS}
        if keyword == "allOf":
            return self._visit(self._merge([base, *parts], place), place)
        found = []
        for number, part in enumerate(parts):
            with suppress(NothingValidError):
                whole = self._merge([base, part], place) if base and not _same_type(base, part) else part
                found.append(self._visit(whole, f"{place}.{keyword}[{number}]"))
        if not found:
            raise NothingValidError(f"{place}.{keyword}", "nothing is valid there")
        return self._rules.add(" | ".join(dict.fromkeys(found)))

    def _constants(self, schema: Mapping[str, Any], place: str) -> str:
        keyword = "const" if "const" in schema else "enum"
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list) or not values:
            raise refused(f"{place}.enum", "expected a list of values")
        beside = {key: value for key, value in schema.items() if key != keyword}
        valid = [value for value in values if is_valid(value, beside)]
        if not valid:
            raise NothingValidError(place, "no value of it has the properties that it asks for")
        return self._rules.add(" | ".join(dict.fromkeys(constant(value) for value in valid)))

    def _of_types(self, schema: Mapping[str, Any], place: str) -> str:
        types = types_of(schema) or [name for name, keys in _HINTS.items() if any(key in schema for key in keys)]
        if not types:
            return self._rules.built_in("value")
        found = [self._of_type(name, schema, place) for name in types]
        return found[0] if len(found) == 1 else self._rules.add(" | ".join(dict.fromkeys(found)))

    def _of_type(self, name: str, schema: Mapping[str, Any], place: str) -> str:
        if name == "object":
            return self._object(schema, place)
        if name == "array":
            return self._array(schema, place)
        if name == "string":
            return self._string(schema, place)
        if name in {"number", "integer"}:
            return self._number(name, schema, place)
        return self._rules.built_in(name)

    def _number(self, name: str, schema: Mapping[str, Any], place: str) -> str:
        try:
            text = json_number.expression(schema, whole=name == "integer")
        except json_number.EmptyRangeError as error:
            raise NothingValidError(place, str(error)) from None
        except ValueError as error:
            raise refused(place, str(error)) from None
        return self._rules.add(text) if text else self._rules.built_in(name)

    def _string(self, schema: Mapping[str, Any], place: str) -> str:
        least, most = _count(schema, "minLength", place) or 0, _count(schema, "maxLength", place)
        if most is not None and most < least:
            raise refused(place, "maxLength is less than minLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        if isinstance(pattern, str):
            try:
                return self._rules.add(f'"\\"" {string_of(pattern, least, most)} "\\""')
            except PatternError as error:
                raise refused(f"{place}.pattern", f"{pattern[:100]!r}: {error}") from None
        if isinstance(form, str) and form in FORMATS and not least and most is None:
            self._rules.built_in("hex")
            return self._rules.add(f'"\\"" {FORMATS[form]} "\\""')
        if not least and most is None:
            return self._rules.built_in("string")
        self._rules.built_in("char")
        return self._rules.add(f'"\\"" char{{{least},{"" if most is None else most}}} "\\""')

    def _array(self, schema: Mapping[str, Any], place: str) -> str:
        least, most = _count(schema, "minItems", place) or 0, _count(schema, "maxItems", place)
        first = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else [])
        rest = schema.get("additionalItems", True) if isinstance(schema.get("items"), list) else schema.get("items")
        if schema.get("uniqueItems") and (most is None or most > 1):
            raise refused(f"{place}.uniqueItems", "a grammar cannot hold an answer to that; leave it out")
        if most is not None and most < least:
            raise refused(place, "maxItems is less than minItems")
        if not first and rest is None and not least and most is None:
            return self._rules.built_in("array")
        self._rules.built_in("space")
        parts = [self._visit(part, f"{place}.prefixItems[{number}]") for number, part in enumerate(first[:most])]
        more_least = max(0, least - len(parts))
        more_most = None if most is None else most - len(parts)
        may_follow = rest is not False and more_most != 0 and (rest is not None or more_least or not first)
        if more_least and rest is False:
            raise refused(place, "minItems asks for more items than there may be")
        items = self._visit(True if rest is None else rest, f"{place}.items") if may_follow else ""
        return self._rules.add(f'"[" space {_listed(parts, items, more_least, more_most)} space "]"')

    def _object(self, schema: Mapping[str, Any], place: str) -> str:
        properties = schema.get("properties") or {}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        extra = schema.get("additionalProperties", None if properties else True)
        if not isinstance(properties, dict):
            raise refused(f"{place}.properties", "expected an object")
        wanted: dict[str, Any] = dict(properties)
        for name in required:
            if name not in wanted:
                if extra is False:
                    raise refused(place, f"{name!r} is required but may not be there")
                wanted[name] = True if extra is None else extra
        absent = [name for name, value in wanted.items() if value is False]
        if any(name in required for name in absent):
            raise refused(place, "a property is required but may not be there")
        self._check_counts(schema, place, least=len(required), most=len(wanted) - len(absent), open_end=bool(extra))
        if not wanted and extra is True:
            return self._rules.built_in("object")
        return self._members(wanted, absent, required, extra, place)

    def _check_counts(self, schema: Mapping[str, Any], place: str, *, least: int, most: int, open_end: bool) -> None:
        fewest, largest = _count(schema, "minProperties", place) or 0, _count(schema, "maxProperties", place)
        if fewest > least or (largest is not None and (open_end or most > largest)):
            raise refused(place, "minProperties and maxProperties must follow from the properties; leave them out")

    def _members(
        self, wanted: Mapping[str, Any], absent: Sequence[str], required: Sequence[str], extra: Any, place: str
    ) -> str:
        """Rules for what may come from each property on, once where nothing came before and once where a comma is
        due."""
        self._rules.built_in("space")
        after, begin = self._extra_members(list(wanted), extra, place)
        for name in reversed([name for name in wanted if name not in absent]):
            value = self._visit(wanted[name], f"{place}.properties.{name}")
            member = self._rules.add(f'{constant(name)} ":" space {value}')
            if name in required:
                begin = self._rules.add(f"{member} {after}")
                after = self._rules.add(f'"," space {member} {after}')
            else:
                begin, after = (
                    self._rules.add(f"{member} {after} | {begin}"),
                    self._rules.add(f'"," space {member} {after} | {after}'),
                )
        return self._rules.add(f'"{{" space {begin} space "}}"')

    def _extra_members(self, names: list[str], extra: Any, place: str) -> tuple[str, str]:
        """What may come after the declared properties, if one of them came and if none did."""
        if extra is None or extra is False:
            return '""', '""'
        value = self._visit(extra, f"{place}.additionalProperties")
        member = self._rules.add(f'"\\"" {other_name(self._rules, names)} "\\":" space {value}')
        after = self._rules.add(f'("," space {member})*')
        return after, self._rules.add(f"({member} {after})?")


def _count(schema: Mapping[str, Any], keyword: str, place: str) -> int | None:
    value = schema.get(keyword)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise refused(f"{place}.{keyword}", "expected a whole number that is not negative")
    return int(value)


def _listed(first: Sequence[str], items: str, least: int, most: int | None) -> str:
    """Items with commas between them: `first`, then `least` to `most` of `items`, if there are any."""
    head = ' "," space '.join(first)
    if not items:
        return head or '""'
    limit = "" if most is None else str(most)
    if head:
        return f'{head} ("," space {items}){{{least},{limit}}}'
    more = f'("," space {items}){{{max(0, least - 1)},{"" if most is None else most - 1}}}'
    return f"{items} {more}" if least else f"({items} {more})?"


def _same_type(base: Mapping[str, Any], part: Any) -> bool:
    """Whether `base` says nothing but the type that `part` has anyway."""
    return base.keys() == {"type"} and isinstance(part, dict) and part.get("type") == base["type"]
