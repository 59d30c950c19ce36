"""Textual inversions: vectors that stand for a word, from the files in `embeddings/`."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from velesio.backends.diffusion import weights
from velesio.backends.diffusion.chunks import Inversion
from velesio.backends.diffusion.tokenizer import Tokenizer
from velesio.errors import ModelLoadFailed

_KEPT = 64
"""Files whose vectors stay in memory."""


class Inversions:
    """Those that a model may use; a file is read when its name occurs in a prompt."""

    def __init__(self, files: Mapping[str, Path], *, allow_pickle: bool) -> None:
        """`files` by the names that prompts call them."""
        self._files = dict(files)
        self._allow_pickle = allow_pickle
        self._read: OrderedDict[str, list[Tensor]] = OrderedDict()
        self._names: dict[int, dict[int, list[tuple[str, tuple[int, ...]]]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all files."""
        return tuple(self._files)

    def known(self, tokenizer: Tokenizer, width: int) -> "_Lookup":
        """Those whose vectors have a width, by the first token of their names, longest names first."""
        if id(tokenizer) not in self._names:
            by_first: dict[int, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
            for name in sorted(self._files, key=len, reverse=True):
                if tokens := tuple(tokenizer.encode(name)):
                    by_first[tokens[0]].append((name, tokens))
            self._names[id(tokenizer)] = by_first
        return _Lookup(self, self._names[id(tokenizer)], width)

    def vectors(self, name: str, width: int) -> Tensor:
        """[vectors, width].

        Raises:
            ModelLoadFailed: if the file cannot be read or holds none of this width.
        """
        found = next((each for each in self._load(name) if each.shape[-1] == width), None)
        if found is None:
            raise ModelLoadFailed(f"the embedding {name!r} is for another kind of model: it has no vectors of {width}")
        return found

    def fits(self, name: str, width: int) -> int:
        """How many vectors of a width it has; 0: none, or it cannot be read."""
        try:
            return next((len(each) for each in self._load(name) if each.shape[-1] == width), 0)
        except ModelLoadFailed:
            return 0

    def _load(self, name: str) -> list[Tensor]:
        if name not in self._read:
            with weights.opened(self._files[name], allow_pickle=self._allow_pickle) as tensors:
                self._read[name] = _vectors(tensors)
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(name)
        return self._read[name]


class _Lookup(Mapping[int, list[Inversion]]):
    """Reads a file only when a prompt has the first token of its name."""

    def __init__(self, owner: Inversions, names: Mapping[int, list[tuple[str, tuple[int, ...]]]], width: int) -> None:
        self._owner = owner
        self._names = names
        self._width = width

    def __getitem__(self, token: int) -> list[Inversion]:
        if token not in self._names:
            raise KeyError(token)
        found = ((name, tokens, self._owner.fits(name, self._width)) for name, tokens in self._names[token])
        return [Inversion(name, tokens, length) for name, tokens, length in found if length]

    def __iter__(self) -> Iterator[int]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _vectors(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The matrices that a file of any of the usual forms holds: alone, `string_to_param.*`, `clip_l` and `clip_g`."""
    found = [tensors[name] for name in tensors]
    return [each if each.dim() == 2 else each.unsqueeze(0) for each in found if each.dim() in {1, 2}]
