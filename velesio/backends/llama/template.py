"""Jinja as Hugging Face renders chat templates, in a sandbox, with bounds on time and size."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from velesio.errors import BadRequest

MAX_LENGTH = 16 * 1024 * 1024
"""Characters of a prompt, and of anything that a template computes on the way."""
MAX_SECONDS = 5.0

_TICK = "_velesio_tick"


class _Generation(Extension):
    """`{% generation %}` marks the assistant's part for training; here it only stands for what it holds."""

    tags: ClassVar[set[str]] = {"generation"}  # type: ignore[misc] # the base class has it without ClassVar

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Returns the block's body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """Refuses to compute what is too large, and looks at the clock in each turn of a loop."""

    intercepted_binops = frozenset(("+", "*", "**"))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        loops: list[nodes.For | nodes.Macro] = [*tree.find_all(nodes.For), *tree.find_all(nodes.Macro)]
        for node in loops:
            call = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            tick = nodes.Output([call]).set_lineno(node.lineno).set_environment(self)
            node.body.insert(0, tick)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Adds and multiplies within bounds."""
        if operator == "*":
            _refuse_over(_size(left) * right if isinstance(right, int) else _size(right) * _number(left))
        elif operator == "+":
            _refuse_over(_size(left) + _size(right))
        elif operator == "**" and abs(_number(right)) > 64:
            raise TemplateError("a power that is too large")
        return super().call_binop(context, operator, left, right)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0


def _refuse_over(size: float) -> None:
    if size > MAX_LENGTH:
        raise TemplateError("a text that is too long")


class Template:
    """A compiled template."""

    def __init__(self, source: str) -> None:
        """Raises BadRequest if it cannot be compiled."""
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], autoescape=False
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self.source = source
        try:
            self._template: JinjaTemplate = environment.from_string(source)
        except (TemplateError, RecursionError) as error:
            raise BadRequest(f"the model's chat template cannot be compiled: {error}") from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text.

        Raises:
            BadRequest: the template refuses the variables, fails, or does not end within bounds.
        """
        pieces: list[str] = []
        length, end = 0, time.monotonic() + MAX_SECONDS

        def tick() -> str:
            if time.monotonic() > end:
                raise _too_long()
            return ""

        try:
            for piece in self._template.generate({**variables, _TICK: tick}):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_LENGTH:
                    raise _too_long()
        except BadRequest:
            raise
        except RecursionError:
            raise BadRequest("the model's chat template nests too deeply", param="messages") from None
        except Exception as error:
            raise BadRequest(f"the model's chat template refused the conversation: {error}", param="messages") from None
        return "".join(pieces)


def _too_long() -> BadRequest:
    return BadRequest("the conversation is too long for the model's chat template", param="messages")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as templates expect it: characters stay themselves, nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 - templates tell the model the local date
