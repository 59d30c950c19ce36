"""The head of a safetensors file: names, shapes and places of its tensors, read without a library."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from velesio.errors import ModelLoadFailed

_LARGEST = 100 << 20
"""Bytes of a head; the format itself allows no more."""
_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Header(NamedTuple):
    """What a file says of itself."""

    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]
    metadata: dict[str, str]
    bytes: int
    """Of all tensors."""
    begin: int
    """Where the tensors begin in the file."""


def read(path: Path) -> Header:
    """The head of a file.

    Raises:
        ModelLoadFailed: if it is no whole safetensors file; the message names it and says what is wrong.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(_LARGEST, size - 8):
                raise ModelLoadFailed(f"{path} is no safetensors file, or only its beginning")
            entries = msgspec.json.decode(file.read(length), type=dict[str, Any])
            metadata = msgspec.convert(entries.pop("__metadata__", None) or {}, dict[str, Any])
            tensors = msgspec.convert(entries, dict[str, _Entry])
    except (OSError, struct.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelLoadFailed(f"{path} cannot be read as a safetensors file: {error}") from None
    _check(path, tensors, size - 8 - length)
    return Header(
        {name: entry.shape for name, entry in tensors.items()},
        {name: entry.dtype for name, entry in tensors.items()},
        {str(name): str(value) for name, value in metadata.items()},
        sum(entry.data_offsets[1] - entry.data_offsets[0] for entry in tensors.values()),
        8 + length,
    )


def _check(path: Path, tensors: dict[str, _Entry], room: int) -> None:
    for name, entry in tensors.items():
        begin, end = entry.data_offsets
        count = 1
        for side in entry.shape:
            count *= side
        if entry.dtype not in _BYTES or begin < 0 or end - begin != count * _BYTES[entry.dtype]:
            raise ModelLoadFailed(f"{path} is damaged: the tensor {name!r} contradicts itself")
        if end > room:
            raise ModelLoadFailed(f"{path} is cut off: {end - room} bytes of {name!r} and what follows are missing")
