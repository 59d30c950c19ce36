"""Sandbox: what a chat template may compute. Jinja's own keeps it from the process; this one bounds time and memory.

A template comes with a model's file, the conversation from anybody: neither may hold up the engine that serves others.
Whatever can make a long text out of short ones is measured before it is made.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ClassVar

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_LENGTH = 16 * 1024 * 1024
"""Characters of a prompt, and of anything that a template computes on the way."""
TICK = "_velesio_tick"
"""A function among the variables that is called in each turn of a loop; it raises when the time is over."""

_PRIVATE = "_velesio"
_JOINED = f"{_PRIVATE}_joined"
_ITEM = 64
"""Characters that a place in a list counts for: whoever looks at it takes as long as with a short text."""
_MOST_BITS = 1 << 16
_MOST_POWER = 64
_MOST_AMOUNT = 10_000
_AMOUNTS = {"batch", "center", "indent", "round", "slice", "tojson", "wordwrap"}
"""Filters with numbers that say how much there will be of something."""
_PADDING = {"center", "ljust", "rjust", "zfill"}
_WIDE = re.compile(r"\d{6}|\*|\{[^{}]*\{")
"""In a pattern of `%` or `format`: a width of six digits, or one that comes with the values."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja as Hugging Face renders chat templates, within bounds."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
            autoescape=False,
            finalize=_measured,
        )
        self.globals.pop("lipsum")
        self.filters = {name: bounded(name, found) for name, found in self.filters.items()}
        self.filters[_JOINED] = _joined

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Concatenations().visit(super()._parse(source, name, filename))
        if any(each.name.startswith(_PRIVATE) for each in tree.find_all(nodes.Name)):
            raise TemplateError(f"names do not begin with {_PRIVATE}")
        loops: list[nodes.For | nodes.Macro] = [*tree.find_all(nodes.For), *tree.find_all(nodes.Macro)]
        for node in loops:
            call = nodes.Call(nodes.Name(TICK, "load"), [], [], None, None)
            node.body.insert(0, nodes.Output([call]))
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes within bounds."""
        _OPERATORS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls methods of texts within bounds."""
        method = getattr(called, "__wrapped__", called)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            _check_method(owner, getattr(method, "__name__", ""), args)
        return super().call(context, called, *args, **kwargs)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's part for training; here it only stands for what it holds."""

    tags: ClassVar[set[str]] = {"generation"}  # type: ignore[misc] # the base class has it without ClassVar

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Returns the block's body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Concatenations(NodeTransformer):
    """Puts a filter in the place of each `~`, which Jinja lets nobody look at."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's way to name it
        self.generic_visit(node)
        pieces = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(pieces, _JOINED, [], [], None, None, lineno=node.lineno)


def _joined(pieces: list[Any]) -> str:
    texts = [str(_measured(piece)) for piece in pieces]
    _refuse_over(sum(map(len, texts)))
    return "".join(texts)


def _measured(value: Any) -> Any:
    """A value as it is, if its text is not too long."""
    if isinstance(value, list | tuple | dict):
        _refuse_over(_length(value, MAX_LENGTH))
    return value


def _length(value: Any, left: int) -> int:
    """About the characters of a value's text; not much more than `left`, however often a value holds another."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return _lengths((part for pair in value.items() for part in pair), left)
    return _lengths(value, left) if isinstance(value, list | tuple) else _ITEM


def _lengths(values: Iterable[Any], left: int) -> int:
    total = _ITEM
    for value in values:
        total += _ITEM + _length(value, left - total)
        if total > left:
            break
    return total


def _size(value: Any) -> int:
    if isinstance(value, list | tuple):
        return len(value) * _ITEM
    return len(value) if isinstance(value, str) else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _add(left: Any, right: Any) -> None:
    _refuse_over(_size(left) + _size(right))


def _multiply(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _refuse_bits(_bits(left) + _bits(right))
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int):
            _refuse_over(_size(value) * times)


def _power(left: Any, right: Any) -> None:
    if isinstance(right, int | float) and abs(right) > _MOST_POWER:
        raise TemplateError("a power that is too large")
    _refuse_bits(_bits(left) * _MOST_POWER)


def _format(left: Any, _right: Any) -> None:
    if isinstance(left, str):
        _refuse_wide(left)


_OPERATORS: dict[str, Callable[[Any, Any], None]] = {"+": _add, "*": _multiply, "**": _power, "%": _format}


def _check_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    first = args[0] if args else None
    if name in _PADDING:
        _refuse_over(first if isinstance(first, int) else 0)
    elif name == "expandtabs":
        _refuse_over(text.count("\t") * (first if isinstance(first, int) else 8))
    elif name in {"format", "format_map"}:
        _refuse_wide(text)
    elif name == "join":
        _refuse_over(_length(first, MAX_LENGTH) + _size(first) // _ITEM * len(text))
    elif name == "replace" and len(args) > 1:
        _refuse_over(_replaced(text, *args[:2]))
    elif name == "translate":
        raise TemplateError("translate is not available")


def _replaced(text: str, old: Any, new: Any) -> int:
    old, new = str(old), str(new)
    return len(text) + text.count(old) * max(0, len(new) - len(old))


def bounded(name: str, found: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that measures what it is given."""

    @wraps(found)
    def measured(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if hasattr(found, "jinja_pass_arg") else args
        for value in given:
            _measured(value)
        more = [*given[1:], *kwargs.values()]
        if name in _AMOUNTS and any(isinstance(value, int) and value > _MOST_AMOUNT for value in more):
            raise TemplateError(f"a number that is too large for {name}")
        if given and more:
            _check_filter(name, given[0], more)
        return found(*args, **kwargs)

    return measured


def _check_filter(name: str, value: Any, more: list[Any]) -> None:
    if name == "indent" and isinstance(more[0], int | str):
        width = more[0] if isinstance(more[0], int) else len(more[0])
        _refuse_over(str(value).count("\n") * width)
    elif name == "join":
        _refuse_over(_size(value) // _ITEM * len(str(more[0])))
    elif name == "replace" and len(more) > 1:
        _refuse_over(_replaced(str(value), more[0], more[1]))
    elif name == "format":
        _refuse_wide(str(value))
    elif name == "wordwrap":
        _refuse_over(len(str(value)) * max(1, *(len(each) for each in more if isinstance(each, str)), 1))


def _refuse_over(size: float) -> None:
    if size > MAX_LENGTH:
        raise TemplateError("a text that is too long")


def _refuse_bits(bits: int) -> None:
    if bits > _MOST_BITS:
        raise TemplateError("a number that is too large")


def _refuse_wide(pattern: str) -> None:
    if _WIDE.search(pattern):
        raise TemplateError("a width that is too large")
