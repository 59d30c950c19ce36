"""What the answer to a chat must look like, as a grammar: reasoning, then calls of functions or content of a form."""

import logging
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.backends.llama.chat import Rendered
from velesio.backends.llama.json_schema import to_rules
from velesio.dialects import Format, Function, functions_of
from velesio.errors import BadRequest
from velesio.jobs import Chat, Grammar

_NAMES = re.compile(
    r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|!?<[^>\n]*>|(?<![A-Za-z0-9-])(?P<root>root)(?![A-Za-z0-9-])'
)
_KEPT = 32
_CONTENT = "content-root"
_OPEN = ("additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const")
"""Keywords by which a schema without properties means other objects than the empty one."""

_log = logging.getLogger(__name__)


def callable_functions(chat: Chat) -> list[Function]:
    """The functions that the answer may call.

    Raises:
        BadRequest: it must call one that there is none of.
    """
    if chat.tool_choice == "none":
        return []
    functions = functions_of(chat.tools)
    if chat.tool_choice.startswith("="):
        name = chat.tool_choice[1:]
        if name not in functions:
            raise BadRequest(f"tools has no function {name!r}, which tool_choice asks for", param="tool_choice")
        return [functions[name]]
    if chat.tool_choice == "required" and not functions:
        raise BadRequest("tool_choice asks for a call, but tools has no function", param="tool_choice")
    return list(functions.values())


class Calling:
    """Makes grammars for chats. Clients send the same functions again and again: the last ones are kept."""

    def __init__(self) -> None:
        self._made: OrderedDict[bytes, Grammar | None] = OrderedDict()

    def grammar(self, chat: Chat, form: Format, prompt: Rendered, *, loose: bool = False) -> Grammar | None:
        """The grammar for the answer to `chat`, whose prompt is `prompt`; None: it is free. With `loose` the
        arguments of calls are any objects.

        Raises:
            BadRequest: for what cannot go together, and for schemas that a grammar cannot follow where they must be.
        """
        if chat.grammar is None and not callable_functions(chat):
            return None
        wishes = (chat.tools, chat.tool_choice, chat.parallel_tool_calls, chat.grammar)
        key = msgspec.msgpack.encode((wishes, form.name, prompt.prefix, prompt.thinks, loose))
        if key not in self._made:
            self._made[key] = _Writer(chat, form, prompt, loose=loose).grammar()
        self._made.move_to_end(key)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return self._made[key]


class _Writer:
    """One grammar while it is written: the `Notation` of formats."""

    def __init__(self, chat: Chat, form: Format, prompt: Rendered, *, loose: bool) -> None:
        self._chat = chat
        self._form = form
        self._prompt = prompt
        self._loose = loose
        self._rules: dict[str, str] = {}
        self._own = ""
        """The request's own grammar, if there is one."""
        self._functions = callable_functions(chat)
        self._numbers = {function.name: number for number, function in enumerate(self._functions)}

    def grammar(self) -> Grammar | None:
        """The whole of it."""
        own, chat = self._chat.grammar, self._chat
        if not self._functions:
            if own is None or own.lazy or not (self._prompt.thinks or self._before_content()):
                return own
            return self._whole(f"{self._before_content()} {self._content(own)}", own.preserved)
        if own is not None and own.schema is None:
            raise BadRequest("Cannot use custom grammar constraints with tools.", param="grammar")
        parallel = self._form.parallel if chat.parallel_tool_calls is None else chat.parallel_tool_calls
        calls = self._form.calls(self, self._functions, parallel=parallel)
        if chat.tool_choice == "auto" and own is None:
            return Grammar(gbnf=self._text(calls), lazy=True, triggers=self._form.triggers, preserved=self._form.shown)
        calls = f"{self._form.before_calls(self._prompt.prefix)} {calls}"
        if chat.tool_choice == "auto" and own is not None:
            calls = f"({calls} | {self._before_content()} {self._content(own)})"
        return self._whole(calls)

    def _before_content(self) -> str:
        return self._form.before_content(self._prompt.prefix)

    def _whole(self, answer: str, preserved: tuple[str, ...] = ()) -> Grammar:
        thought = ""
        if self._prompt.thinks:
            begun = self._prompt.prefix.startswith(self._form.thinks[0])
            thought = self._form.thought(self, begun=begun)
        return Grammar(gbnf=self._text(f"{thought} {answer}"), preserved=(*self._form.shown, *preserved))

    def _text(self, root: str) -> str:
        rules = {"root": root, **self._rules}
        return self._own + "".join(f"{name} ::= {text}\n" for name, text in rules.items())

    def _content(self, own: Grammar) -> str:
        if own.schema is not None:
            self._rules |= to_rules(own.schema, "content-")
        else:  # it stands first, so that what is wrong with it is on the line where its author finds it
            renamed = _NAMES.sub(lambda match: _CONTENT if match["root"] else match[0], own.gbnf)
            self._own = f"{renamed}\n"
        return _CONTENT

    def define(self, name: str, text: str) -> str:
        """Adds the rule `name`, unless it is there already; returns the name."""
        self._rules.setdefault(name, text)
        return name

    def arguments(self, function: Function) -> str:
        """The rule for all arguments of a function. A schema that a grammar cannot follow means any object, unless
        the function is strict."""
        prefix = f"f{self._numbers[function.name]}-"
        if f"{prefix}root" not in self._rules:
            self._add(function, prefix, _closed(function.parameters), "#", {"type": "object"})
        return f"{prefix}root"

    def value(self, function: Function, parameter: str) -> str:
        """The rule for one argument."""
        number = list(function.properties).index(parameter)
        prefix = f"f{self._numbers[function.name]}-{number}-"
        pointer = parameter.replace("~", "~0").replace("/", "~1")
        self._add(function, prefix, dict(function.parameters), f"#/properties/{pointer}", {})
        return f"{prefix}root"

    def _add(
        self, function: Function, prefix: str, schema: dict[str, Any], pointer: str, anything: dict[str, Any]
    ) -> None:
        try:
            self._rules |= to_rules(anything if self._loose else schema, prefix, "#" if self._loose else pointer)
        except BadRequest as error:
            if function.strict:
                raise BadRequest(f"tools: {function.name}: {error.message}", param="tools") from None
            _log.debug("arguments of %s are not held to their schema: %s", function.name, error.message)
            self._rules |= to_rules(anything, prefix)


def _closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of arguments, which may be none but those that it names, unless it says otherwise."""
    schema = {"type": "object", **parameters}
    if not schema.get("properties") and not any(key in schema for key in _OPEN):
        return {"const": {}}
    return schema
