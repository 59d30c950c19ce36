"""Texts drawn from a grammar."""

import random
from collections.abc import Iterator

from velesio.backends.llama.gbnf import Chars, Item, Ref, Repeat, Rules

_LETTERS = "abz09 .,:;{}[]()<>/\\\"'é\n"
"""What is drawn for wide classes: characters that formats might stumble over."""
_DEEP = 60


def texts(rules: Rules, seed: str, count: int) -> Iterator[str]:
    """Texts that the grammar allows; deep in it the shortest ways are taken."""
    draw, depths = random.Random(seed), _depths(rules)
    shortest = [
        min(ways, key=lambda way: max((_depth(item, depths) for item in way), default=0)) for ways in rules.rules
    ]

    def of_rule(rule: int, depth: int) -> str:
        way = shortest[rule] if depth > _DEEP else draw.choice(rules.rules[rule])
        return "".join(of_item(item, depth + 1) for item in way)

    def of_item(item: Item, depth: int) -> str:
        if isinstance(item, Ref):
            return of_rule(item.rule, depth)
        if isinstance(item, Repeat):
            most = item.least + 2 if item.most is None else item.most
            times = item.least if depth > _DEEP else draw.randint(item.least, min(most, item.least + 2))
            return "".join(of_item(item.item, depth) for _ in range(times))
        assert isinstance(item, Chars)
        fitting = [letter for letter in _LETTERS if any(low <= ord(letter) <= high for low, high in item.ranges)]
        return draw.choice(fitting) if fitting else chr(draw.choice(item.ranges)[0])

    return (of_rule(rules.root, 0) for _ in range(count))


def _depths(rules: Rules) -> list[int]:
    """How deep each rule goes at least."""
    depths, before = [1_000_000] * len(rules.rules), []
    while depths != before:
        before = depths.copy()
        for number, ways in enumerate(rules.rules):
            depths[number] = min(max((_depth(item, depths) for item in way), default=0) + 1 for way in ways)
    return depths


def _depth(item: Item, depths: list[int]) -> int:
    if isinstance(item, Repeat):
        return _depth(item.item, depths) if item.least else 0
    return depths[item.rule] if isinstance(item, Ref) else 0
