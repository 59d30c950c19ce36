"""Names of properties that a schema does not declare, as rules of its grammar. Pure."""

from collections.abc import Iterable

from velesio.backends.llama.gbnf import complement
from velesio.backends.llama.json_keywords import refused
from velesio.backends.llama.json_pattern import chars_of, common
from velesio.backends.llama.json_rules import Rules, literal

_LONGEST = 60
_FREE = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0xA0, 0xD7FF), (0xE000, 0x10FFFF))
"""Ranges of characters that stand in a JSON text as they are."""


def other_name(rules: Rules, declared: Iterable[str]) -> str:
    """The rule for a name that is none of these: it leaves them at some character. No escapes, which could spell one.

    Raises:
        BadRequest: a declared name is too long.
    """
    names = [name for name in declared if name.isprintable() and not set(name) & set('"\\')]
    if any(len(name) > _LONGEST for name in names):
        raise refused("properties", f"with additionalProperties, names have at most {_LONGEST} characters")
    return _leaving(rules, rules.add(chars_of(_FREE)), names, first=True)


def _leaving(rules: Rules, anything: str, rests: list[str], *, first: bool) -> str:
    """A text that is none of `rests`; the first character of a name must be there."""
    heads = sorted({rest[0] for rest in rests if rest})
    other = rules.add(chars_of(common(_FREE, complement([(ord(head), ord(head)) for head in heads]))))
    parts = [f"{other} {anything}*"]
    for head in heads:
        inner = _leaving(rules, anything, [rest[1:] for rest in rests if rest and rest[0] == head], first=False)
        parts.append(f"{literal(head)} {inner}")
    if not first and "" not in rests:
        parts.append('""')
    return rules.add(" | ".join(parts))
