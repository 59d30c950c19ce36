"""Models that write each argument in tags of its own: Qwen3-Coder, Seed-OSS, MiniMax-M2, GLM-4.5, DeepSeek-V3.2.

Texts stand there as they are, other values as JSON; the schemas of the parameters tell which is meant.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.notation import BLANK, Notation, either, literal, several, until
from velesio.jobs import Trigger

_IS_TEXT = "{is_text}"
_TEXT = frozenset({"string"})
_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""Words that models write for JSON's."""
_TYPES: Mapping[type, str] = {
    dict: "object",
    list: "array",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


class Tags(NamedTuple):
    """What stands where. Tags that begin something may have blanks before them."""

    scope: str
    """Before the first call."""
    call: str
    """Before a function's name; empty: nothing is."""
    named: str
    """After it."""
    parameter: str
    """Before a parameter's name."""
    value: str
    """Between it and its value; `{is_text}` stands for whether that is text."""
    value_end: str
    call_end: str
    scope_end: str
    line: str = ""
    """A line break around values, if there is one."""


class _Parameter(msgspec.Struct):
    """A parameter that was read."""

    name: str = ""
    kinds: frozenset[str] = frozenset()


class Tagged(Format):
    """A family of formats; each has its own `tags`."""

    tags: ClassVar[Tags]
    many_in_scope: ClassVar[bool] = False
    """Whether several calls share a scope, or each has its own."""

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """Reads the calls of one scope."""
        tags = self.tags
        answer.skip(mark)
        found = False
        while True:
            yield from answer.blank()
            if found and (yield from answer.accept(tags.scope_end)):
                return True
            if not (yield from self._one(answer)):
                return found
            found = True
            if not self.many_in_scope:
                yield from answer.blank()
                yield from answer.accept(tags.scope_end)
                return True

    def _one(self, answer: Answer) -> Reading[bool]:
        tags = self.tags
        if tags.call and not (yield from answer.accept(tags.call)):
            return False
        name = yield from answer.name()
        if not name or (tags.named and not (yield from answer.accept(tags.named))):
            return False
        answer.open_call(name)
        yield from self._arguments(answer, answer.functions[name])
        return True

    def _arguments(self, answer: Answer, function: Function) -> Reading[None]:
        """The parameters up to the end of the call; what is none of them ends it as well."""
        answer.arguments("{")
        between, found = "", _Parameter()
        while True:
            yield from answer.blank()
            if not (yield from answer.attempt(self._parameter(answer, function, found))):
                break
            answer.arguments(f"{between}{json.dumps(found.name, ensure_ascii=False)}: ")
            between = ", "
            if not (yield from self._value(answer, found.kinds)):
                return  # the answer was cut in the middle
        if (yield from answer.accept(self.tags.call_end)) or not (yield from answer.at_end()):
            answer.arguments("}")

    def _parameter(self, answer: Answer, function: Function, found: "_Parameter") -> Reading[bool]:
        """The name of a parameter, and all that stands before its value."""
        if not (yield from answer.accept(self.tags.parameter)):
            return False
        pieces: list[str] = []
        yield from answer.until((self.tags.value[0],), pieces.append)
        found.name = "".join(pieces)
        found.kinds = kinds_of(function.properties.get(found.name))
        if _IS_TEXT not in self.tags.value:
            ways = (self.tags.value, self.tags.value.replace("\n", ""))
            accepted = yield from answer.accept(*ways)
        elif accepted := (yield from answer.accept(*(self._before_value(is_text=each) for each in (True, False)))):
            found.kinds = _TEXT if accepted == self._before_value(is_text=True) else found.kinds - _TEXT
        if accepted and self.tags.line:
            yield from answer.accept(self.tags.line)
        return bool(accepted)

    def _before_value(self, *, is_text: bool) -> str:
        return self.tags.value.replace(_IS_TEXT, "true" if is_text else "false")

    def _value(self, answer: Answer, kinds: frozenset[str]) -> Reading[bool]:
        ends = tuple(dict.fromkeys((self.tags.line + self.tags.value_end, self.tags.value_end)))
        if kinds == _TEXT:
            answer.arguments('"')
            end = yield from answer.until(ends, lambda text: answer.arguments(_inner(text)))
            answer.arguments('"' if end else "")
        else:
            pieces: list[str] = []
            end = yield from answer.until(ends, pieces.append)
            answer.arguments(json_of("".join(pieces), kinds))
        answer.skip(end)
        return bool(end)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """Calls in their scopes."""
        tags = self.tags
        objects = notation.define("tagged-call", either(self._written(notation, each) for each in functions))
        begin, end = f"{literal(tags.scope)} {BLANK}", f"{BLANK} {literal(tags.scope_end)}"
        if self.many_in_scope:
            return f"{begin} {several(objects, BLANK, parallel=parallel)} {end}"
        return several(notation.define("tagged-scope", f"{begin} {objects} {end}"), BLANK, parallel=parallel)

    def _written(self, notation: Notation, function: Function) -> str:
        tags = self.tags
        parts = [literal(tags.call + function.name + tags.named), BLANK]
        for name in function.properties:
            written = f"{self._parameter_rule(notation, function, name)} {BLANK}"
            parts.append(written if name in function.required else f"({written})?")
        return " ".join([*parts, literal(tags.call_end)] if tags.call_end else parts)

    def _parameter_rule(self, notation: Notation, function: Function, name: str) -> str:
        tags, schema = self.tags, function.properties[name]
        kinds = kinds_of(schema)
        is_text = kinds == _TEXT
        begin = literal(tags.parameter + name + self._before_value(is_text=is_text) + tags.line)
        end = tags.line + tags.value_end
        if not is_text:
            return f"{begin} {notation.value(function, name)} {literal(end)}"
        if choices := _choices(schema):
            return f"{begin} {either(literal(str(choice)) for choice in choices)} {literal(end)}"
        return f"{begin} {until(end, notation)}"


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    """The values that a schema allows, where it lists them."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else []


def kinds_of(schema: Any) -> frozenset[str]:
    """The types that a schema allows, as far as it says; none: any."""
    if not isinstance(schema, dict):
        return frozenset()
    return frozenset(_kinds(schema))


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    named = schema.get("type")
    if isinstance(named, str):
        yield named
    elif isinstance(named, list):
        yield from (name for name in named if isinstance(name, str))
    elif choices := _choices(schema):
        yield from (_TYPES.get(type(value), "string") for value in choices)
    else:
        for key in ("anyOf", "oneOf"):
            parts = schema.get(key)
            for part in parts if isinstance(parts, list) else ():
                yield from _kinds(part) if isinstance(part, dict) else ()


def json_of(text: str, kinds: frozenset[str]) -> str:
    """The JSON that a text stands for where values of these types are meant."""
    stripped = text.strip()
    stripped = _PYTHON.get(stripped, stripped)
    try:
        kind = _TYPES.get(type(json.loads(stripped, parse_constant=_refuse)), "string")
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    fits = not kinds or kind in kinds or (kind == "integer" and "number" in kinds)
    return stripped if fits or "string" not in kinds else json.dumps(text, ensure_ascii=False)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _inner(text: str) -> str:
    """Text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class QwenCoder(Tagged):
    """Qwen3-Coder and those that follow it."""

    name = "qwen3-coder"
    marks = ("<tool_call>", "<function=")
    shown = ("<tool_call>", "</tool_call>")
    tags = Tags(
        scope="<tool_call>",
        call="<function=",
        named=">",
        parameter="<parameter=",
        value=">",
        value_end="</parameter>",
        call_end="</function>",
        scope_end="</tool_call>",
        line="\n",
    )

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Grammars want the tags around."""
        return super().triggers[:1]

    def call(self, answer: Answer, mark: str) -> Reading[bool]:
        """The model sometimes leaves out the tags around."""
        if mark == self.tags.call:
            return (yield from self._one(answer))
        return (yield from super().call(answer, mark))


class Seed(Tagged):
    """Seed-OSS."""

    name = "seed-oss"
    thinks = ("<seed:think>", "</seed:think>")
    marks = ("<seed:tool_call>",)
    shown = ("<seed:tool_call>", "</seed:tool_call>", *thinks)
    tags = QwenCoder.tags._replace(scope="<seed:tool_call>", scope_end="</seed:tool_call>", line="")


class MiniMax(Tagged):
    """MiniMax-M2."""

    name = "minimax-m2"
    marks = ("<minimax:tool_call>",)
    shown = ("<minimax:tool_call>", "</minimax:tool_call>")
    many_in_scope = True
    tags = Tags(
        scope="<minimax:tool_call>",
        call='<invoke name="',
        named='">',
        parameter='<parameter name="',
        value='">',
        value_end="</parameter>",
        call_end="</invoke>",
        scope_end="</minimax:tool_call>",
    )


class Glm(Tagged):
    """GLM-4.5 and later."""

    name = "glm-4.5"
    marks = ("<tool_call>",)
    shown = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", *Format.thinks)
    tags = Tags(
        scope="<tool_call>",
        call="",
        named="",
        parameter="<arg_key>",
        value="</arg_key>\n<arg_value>",
        value_end="</arg_value>",
        call_end="",
        scope_end="</tool_call>",
    )


class Dsml(Tagged):
    """DeepSeek-V3.2."""

    name = "deepseek-v3.2"
    marks = ("<｜DSML｜function_calls>",)  # noqa: RUF001 - DeepSeek's own letters
    shown = ("｜DSML｜",)  # noqa: RUF001 - DeepSeek's own letters
    many_in_scope = True
    tags = Tags(
        scope="<｜DSML｜function_calls>",  # noqa: RUF001 - DeepSeek's own letters
        call='<｜DSML｜invoke name="',  # noqa: RUF001 - DeepSeek's own letters
        named='">',
        parameter='<｜DSML｜parameter name="',  # noqa: RUF001 - DeepSeek's own letters
        value='" string="{is_text}">',
        value_end="</｜DSML｜parameter>",  # noqa: RUF001 - DeepSeek's own letters
        call_end="</｜DSML｜invoke>",  # noqa: RUF001 - DeepSeek's own letters
        scope_end="</｜DSML｜function_calls>",  # noqa: RUF001 - DeepSeek's own letters
    )


class DsmlV4(Dsml):
    """DeepSeek-V4: the scope has another name."""

    name = "deepseek-v4"
    marks = ("<｜DSML｜tool_calls>",)  # noqa: RUF001 - DeepSeek's own letters
    tags = Dsml.tags._replace(
        scope="<｜DSML｜tool_calls>",  # noqa: RUF001 - DeepSeek's own letters
        scope_end="</｜DSML｜tool_calls>",  # noqa: RUF001 - DeepSeek's own letters
    )
