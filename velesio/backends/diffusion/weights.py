"""Weights: tensors from files, in safetensors form or, where that is allowed, from pickles that run no code."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from velesio.backends.diffusion import header
from velesio.backends.diffusion.layout import Names, Piece
from velesio.errors import ModelLoadFailed

PICKLES = {".ckpt", ".pt", ".pth", ".bin"}

Tensors = Mapping[str, Tensor]


class _Lazy(Mapping[str, Tensor]):
    """Tensors of an open safetensors file, read when they are asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def opened(path: Path, *, allow_pickle: bool = False) -> Iterator[Tensors]:
    """The tensors of a file, for as long as it is open.

    Raises:
        ModelLoadFailed: if it is damaged, or a pickle and pickles are not allowed; the message names the remedy.
    """
    if path.suffix.lower() in PICKLES:
        yield pickled(path, allow_pickle=allow_pickle)
        return
    header.read(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield _Lazy(file)
    except (SafetensorError, OSError) as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error}") from error


def pickled(path: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    """The tensors of a pickle, which is read as weights and nothing else.

    Raises:
        ModelLoadFailed: if that is not allowed, or the file wants to do more than hold weights.
    """
    if not allow_pickle:
        raise ModelLoadFailed(
            f"{path} is a pickle, which are not loaded unless allow_pickle = true stands in [backends.diffusion]; "
            "better convert it to safetensors"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged file raises whatever it likes
        reason = str(error).strip().splitlines()[:1]
        raise ModelLoadFailed(f"{path} is no file of weights only, and is not loaded: {''.join(reason)}") from error
    if isinstance(found, Mapping):
        found = found.get("state_dict", found)
    if not isinstance(found, Mapping):
        raise ModelLoadFailed(f"{path} holds no named tensors")
    return _flat(found)


def _flat(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors with their names, those inside inner maps with the names of both."""
    tensors: dict[str, Tensor] = {}
    for name, value in found.items():
        if isinstance(value, Tensor):
            tensors[str(name)] = value
        elif isinstance(value, Mapping):
            tensors |= {f"{name}.{inner}": each for inner, each in value.items() if isinstance(each, Tensor)}
    return tensors


def fill(network: nn.Module, tensors: Tensors, names: Names | None, dtype: torch.dtype, where: Path) -> None:
    """Gives a network, which may have been made without memory, its weights in a number format.

    Raises:
        ModelLoadFailed: naming the first tensor that is missing or has another shape.
    """
    wanted = network.state_dict()
    state = {}
    for name, empty in wanted.items():
        piece = (names or {}).get(name, Piece(name))
        if piece.name not in tensors:
            raise ModelLoadFailed(f"{where} lacks the tensor {piece.name!r}")
        tensor = formed(tensors[piece.name], piece, tuple(empty.shape))
        if tuple(tensor.shape) != tuple(empty.shape):
            raise ModelLoadFailed(
                f"{where}: {piece.name!r} has the shape {tuple(tensor.shape)} where {tuple(empty.shape)} belongs"
            )
        state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    network.load_state_dict(state, assign=True)


def formed(tensor: Tensor, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    """A file's tensor as a module wants it: a third of it, turned, or without a convolution's sides of one."""
    if piece.third >= 0:
        tensor = tensor.chunk(3)[piece.third].clone()
    if piece.turned:
        tensor = tensor.t().contiguous()
    if tensor.dim() == 4 and len(shape) == 2 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    elif tensor.dim() == 2 and len(shape) == 4 and shape[2:] == (1, 1):
        tensor = tensor[:, :, None, None]
    return tensor


class Renamed(Mapping[str, Tensor]):
    """Tensors that are found by another part of their name as well."""

    def __init__(self, tensors: Tensors, old: Mapping[str, str]) -> None:
        """`old`: a part of the file's names → what it is called."""
        self._tensors = tensors
        self._names = {}
        for name in tensors:
            called = name
            for part, now in old.items():
                called = called.replace(part, now)
            self._names[called] = name

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def unusable(path: Path, kind: str) -> ModelLoadFailed:
    """The refusal of a file that is something else than its folder says."""
    return ModelLoadFailed(f"{path} holds no {kind}")


class Together(Mapping[str, Tensor]):
    """The tensors of several files as one."""

    def __init__(self, files: Sequence[Tensors]) -> None:
        self._where = {name: file for file in files for name in file}

    def __getitem__(self, name: str) -> Tensor:
        return self._where[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)
