"""CLIP's tokenizer: text to numbers, by merging pairs of bytes.

The vocabulary that all Stable Diffusion models share ships in `clip/`, with its licence; a model's folder may hold
another. Source of the algorithm: Sennrich et al. 2016, and OpenAI's published CLIP.
"""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

_SHIPPED = Path(__file__).parent / "clip" / "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
_END_OF_WORD = "</w>"
_CONTRACTIONS = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"


class Tokenizer:
    """A vocabulary and the order in which its pairs are merged."""

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        self.vocabulary = dict(vocabulary)
        self.merges = tuple(merges)
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.begin = vocabulary[_BEGIN]
        self.end = vocabulary[_END]
        self.comma = vocabulary.get(f",{_END_OF_WORD}", -1)
        self._known: dict[str, list[int]] = {}

    @property
    def size(self) -> int:
        """Numbers that there are."""
        return max(self.vocabulary.values()) + 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without begin and end marks; case and runs of blanks do not count."""
        tokens: list[int] = []
        for word in _words(_cleaned(text)):
            if word not in self._known:
                if len(self._known) > 65536:
                    self._known.clear()
                self._known[word] = self._merged(word)
            tokens += self._known[word]
        return tokens

    def _merged(self, word: str) -> list[int]:
        if word in {_BEGIN, _END}:
            return [self.vocabulary[word]]
        table = _byte_letters()
        pieces = [table[byte] for byte in word.encode()]
        pieces[-1] += _END_OF_WORD
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, 1 << 30))
            if best not in self._ranks:
                break
            pieces = list(_joined(pieces, best))
        return [self.vocabulary.get(piece, self.end) for piece in pieces]


def shipped() -> Tokenizer:
    """The tokenizer of CLIP and OpenCLIP."""
    lines = gzip.decompress(_SHIPPED.read_bytes()).decode().split("\n")
    merges = [_pair(line) for line in lines[1 : _MERGES + 1]]
    letters = list(_byte_letters().values())
    names = [*letters, *(letter + _END_OF_WORD for letter in letters), *("".join(pair) for pair in merges)]
    return Tokenizer({name: number for number, name in enumerate([*names, _BEGIN, _END])}, merges)


def of_folder(folder: Path) -> Tokenizer:
    """The tokenizer in a folder with `vocab.json` and `merges.txt`, or with `tokenizer.json`.

    Raises:
        OSError, ValueError, KeyError: if it does not hold one.
    """
    single = folder / "tokenizer.json"
    if not (folder / "vocab.json").exists() and single.exists():
        model = json.loads(single.read_text(encoding="utf-8"))["model"]
        merges = [tuple(pair) if isinstance(pair, list) else _pair(pair) for pair in model["merges"]]
        return Tokenizer(model["vocab"], [(one, other) for one, other in merges])
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    return Tokenizer(vocabulary, [_pair(line) for line in lines if line and not line.startswith("#version")])


def _pair(line: str) -> tuple[str, str]:
    one, other = line.split(" ")
    return one, other


def _joined(pieces: Sequence[str], pair: tuple[str, str]) -> Iterator[str]:
    """The pieces with every occurrence of a pair made one, from the left."""
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            yield "".join(pair)
            place += 2
        else:
            yield pieces[place]
            place += 1


def _cleaned(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    return " ".join(text.split()).lower()


def _words(text: str) -> Iterator[str]:
    """Marks, contractions, runs of letters, single digits, runs of anything else."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        end = _word_end(text, place)
        yield text[place:end]
        place = end


def _word_end(text: str, place: int) -> int:
    for mark in (_BEGIN, _END):
        if text.startswith(mark, place):
            return place + len(mark)
    if contraction := _CONTRACTIONS.match(text, place):
        return contraction.end()
    kind = _kind(text[place])
    end = place + 1
    if kind == "N":
        return end
    while end < len(text) and _kind(text[end]) == kind:
        end += 1
    return end


@lru_cache(4096)
def _kind(character: str) -> str:
    """L for letters, N for digits and other numbers, blank for spaces, - for the rest."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "-"


@lru_cache(1)
def _byte_letters() -> dict[int, str]:
    """A visible character for each byte: itself where it is one, else the next one beyond Latin-1."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(visible))
    return table
