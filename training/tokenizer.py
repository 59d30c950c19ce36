"""Tokenizer: a small vocabulary of its own in CLIP's form (byte pairs, `</w>` ends a word)."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
"""Tokens of one prompt chunk, start and end included."""


def byte_symbols() -> list[str]:
    """A printable character for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]


def learn_merges(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """The pairs of symbols to join, the most frequent first; fewer than `count` when every word is whole."""
    splits = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in splits.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        splits = {word: join(symbols, best) for word, symbols in splits.items()}
    return merges


def join(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """The symbols with every occurrence of the pair made one."""
    joined: list[str] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined


def write_tokenizer(folder: Path, words: Counter[str], size: int) -> None:
    """Writes vocab.json, merges.txt and the two configuration files of a CLIP tokenizer with `size` tokens."""
    letters = byte_symbols()
    base = [*letters, *(letter + "</w>" for letter in letters)]
    merges = learn_merges(words, size - len(base) - 2)
    tokens = [*base, *("".join(pair) for pair in merges)]
    tokens += [f"<|unused{i}|>" for i in range(size - len(tokens) - 2)]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate([*tokens, START, END])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
