"""Mutations: the small changes of a text, each alone. Those of Python are mutmut's, those of Lua are found here."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

_SWAPS = {
    "==": "~=", "~=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "/", "/": "*",
    "and": "or", "or": "and", "not ": "", "true": "false", "false": "true", "math.max": "math.min",
    "math.min": "math.max",
}  # fmt: skip
_TOKEN = re.compile(
    r"--[^\n]*|'(?:\\.|[^'\\])*'"  # comments and texts stay
    r"|(?P<swap>==|~=|<=|>=|[<>*/]|(?<=\w )[+-](?= )|\b(?:and|or|true|false)\b|\bnot |math\.(?:max|min))"
    r"|(?P<number>(?<![\w.])\d+(?![\w.]))"
)
_COMMAND = re.compile(r"^ *(?:redis\.call|keep|count|wake|claim|leave|put_blob)\(.*\)$", re.MULTILINE)


class Mutant(NamedTuple):
    """One change of a text."""

    name: str
    """Line, and what became what."""
    line: int
    text: str


def mutants(path: str, text: str) -> list[Mutant]:
    """The mutants of a file, by its ending Python's or Lua's; no two have the same name or text."""
    found = _of_lua(text) if PurePath(path).suffix == ".lua" else _of_python(text)
    return list({mutant.name: mutant for mutant in {mutant.text: mutant for mutant in found}.values()}.values())


def _of_lua(text: str) -> Iterator[Mutant]:
    """An operator, a number or a truth value is another one, or a command is left out."""
    for match in _TOKEN.finditer(text):
        if match["swap"]:
            yield _changed(text, match.start(), match.end(), _SWAPS[match["swap"]])
        elif match["number"]:
            yield _changed(text, match.start(), match.end(), str(int(match["number"]) + 1))
    for match in _COMMAND.finditer(text):
        if match[0].count("(") == match[0].count(")"):
            yield _changed(text, match.start(), match.end(), "")


def _changed(text: str, start: int, end: int, after: str) -> Mutant:
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    name = f"{line}:{column}: {text[start:end].strip()} → {after.strip() or 'nothing'}"
    return Mutant(name, line, text[:start] + after + text[end:])


def _of_python(text: str) -> Iterator[Mutant]:
    """What mutmut knows, also outside of functions; not in annotations, decorators and decorated functions."""
    import libcst  # noqa: PLC0415 - an extra, with mutmut
    from mutmut.mutation.file_mutation import MutationVisitor  # noqa: PLC0415
    from mutmut.mutation.mutators import mutation_operators  # noqa: PLC0415
    from mutmut.mutation.pragma_handling import IgnoredCode  # noqa: PLC0415

    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = libcst.MetadataWrapper(libcst.parse_module(text)).visit(visitor)
    before, codes = text.split("\n"), _Codes(module)
    for change in visitor.mutations:
        within = change.contained_by_top_level_function or module
        changed = within.deep_replace(change.original_node, change.mutated_node)
        after = codes.replaced(before, within, changed)
        line = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
        name = f"{line + 1}: {before[line].strip()} → {_differs(before, after, line)}"
        yield Mutant(name, line + 1, "\n".join(after))


class _Codes:
    """The code of parts of a module: to write a whole one anew for each change takes long."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._known: dict[Any, list[str]] = {}

    def replaced(self, lines: list[str], part: Any, changed: Any) -> list[str]:
        """The lines of the module with a function, a method or all of it changed."""
        old = self._known.setdefault(part, self._lines(part))
        new = self._lines(changed)
        head = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
        tail = 0
        while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        for indent in ("", "    "):
            wanted = [indent + line if line else line for line in old]
            for start in range(len(lines) - len(old) + 1):
                if lines[start + head : start + len(old) - tail] == wanted[head : len(old) - tail] and _alike(
                    lines[start : start + len(old)], old
                ):
                    put = [indent + line if line else line for line in new[head : len(new) - tail]]
                    return [*lines[: start + head], *put, *lines[start + len(old) - tail :]]
        raise AssertionError(f"not in the module: {old[:3]}")

    def _lines(self, part: Any) -> list[str]:
        return str(self._module.code_for_node(part)).removesuffix("\n").split("\n")


def _alike(lines: list[str], code: list[str]) -> bool:
    """Whether they are the same but for where they begin."""
    return all(one.lstrip() == other.lstrip() for one, other in zip(lines, code, strict=True))


def _differs(before: list[str], after: list[str], line: int) -> str:
    """The lines that replace the one at `line`, as one; lines that both have at the end are left out."""
    same = 0
    while same < min(len(before), len(after)) - line - 1 and before[-1 - same] == after[-1 - same]:
        same += 1
    return " ".join(part.strip() for part in after[line : len(after) - same])
