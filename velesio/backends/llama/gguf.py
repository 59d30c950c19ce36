"""The head of a GGUF file: what a model is, read without llama.cpp and without its weights.

Safe on files from strangers: every length is checked against the file before it is used, and only short values are
kept; of the vocabulary only the tokens that are asked for.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

from velesio.errors import ConfigError

_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]

_MAX_ENTRIES = 1 << 16
_MAX_NAME = 1 << 16
_MAX_TEXT = 1 << 22
_MAX_KEPT = 1 << 12

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Elements and bytes of one block, by tensor type."""

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K - Small",
    12: "Q3_K - Medium", 13: "Q3_K - Large", 14: "Q4_K - Small", 15: "Q4_K - Medium", 16: "Q5_K - Small",
    17: "Q5_K - Medium", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K - Small", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS",
    31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4 MoE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

POOLINGS = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}

_GAP_MARKS = (
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim▁begin\uff5c>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
    "<|prefix|>",
)  # fmt: skip
"""Tokens by which llama.cpp knows that a vocabulary was made to fill gaps, where the header does not name one."""

_VOCABULARIES = {"no_vocab": 0, "none": 0, "llama": 1, "gpt2": 2, "bert": 3, "t5": 4, "rwkv": 5, "plamo2": 6}


class Header(NamedTuple):
    """What the head of a file says."""

    path: Path
    values: dict[str, Any]
    """Metadata: numbers, texts, short lists; of long lists only their length, an int, under `<key>#`."""
    marks: dict[str, str]
    """The texts of the special tokens, by their key: `bos`, `eos`, …"""
    parameters: int
    weights: int
    """Bytes of all tensors."""
    fills_gaps: bool = False
    """Whether the vocabulary has marks around a gap to fill."""

    @property
    def architecture(self) -> str:
        """The family, such as `llama`; empty if the file does not say."""
        return str(self.values.get("general.architecture", ""))

    @property
    def is_model(self) -> bool:
        """Whether it is a language model, not an adapter, a projector or a later part of a split model."""
        kind = self.values.get("general.type", "model")
        return kind == "model" and self.architecture not in {"", "clip"} and self.values.get("split.no", 0) == 0

    @property
    def file_type(self) -> str:
        """How the weights are quantized, such as `Q4_K - Medium`."""
        number = self.values.get("general.file_type", -1)
        if not isinstance(number, int) or number == -1:
            return "unknown"
        return _FILE_TYPES.get(number, f"type {number}")

    @property
    def vocabulary_type(self) -> int:
        """llama.cpp's number for the tokenizer."""
        return _VOCABULARIES.get(str(self.values.get("tokenizer.ggml.model", "none")), 0)

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        return int(self.values.get("tokenizer.ggml.tokens#", 0) or self.number("vocab_size"))

    @property
    def chat_template(self) -> str:
        """The Jinja template, or an empty text."""
        return str(self.values.get("tokenizer.chat_template", ""))

    @property
    def tool_template(self) -> str:
        """Another one for conversations with tools, or an empty text."""
        return str(self.values.get("tokenizer.chat_template.tool_use", ""))

    @property
    def pooling(self) -> str:
        """How the vectors of a text's tokens become one: none, mean, cls, last or rank; empty if it does not say."""
        return POOLINGS.get(self.number("pooling_type", -1), "")

    @property
    def generates(self) -> bool:
        """Whether it continues texts; models that read whole texts at once only make embeddings or ratings."""
        return self.values.get(f"{self.architecture}.attention.causal", True) is not False

    @property
    def is_lora(self) -> bool:
        """Whether it is a LoRA adapter."""
        return self.values.get("general.type") == "adapter" and self.values.get("adapter.type") == "lora"

    def number(self, name: str, default: int = 0) -> int:
        """A number of the architecture, such as `context_length`; the largest one where layers differ."""
        value = self.values.get(f"{self.architecture}.{name}", default)
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=default)
        return int(value) if isinstance(value, int | float) and math.isfinite(value) else default

    def cell_bytes(self, key_bits: float, value_bits: float) -> int:
        """Bytes of one cached token over all layers, for cached keys and values of so many bits an element."""
        if not self.generates:
            return 0
        heads = self.number("attention.head_count", 1) or 1
        width = self.number("embedding_length") // heads
        keys = self.number("attention.key_length", width) * key_bits
        values = self.number("attention.value_length", width) * value_bits
        shared = self.values.get(f"{self.architecture}.attention.head_count_kv")
        if isinstance(shared, list):
            total = sum(item for item in shared if isinstance(item, int))
        else:
            total = self.number("attention.head_count_kv", heads) * self.number("block_count")
        return int(total * (keys + values)) // 8


def read(path: Path) -> Header:
    """The head of the file at `path`.

    Raises:
        ConfigError: naming the file, if it cannot be read, is cut short or is no GGUF file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            return _Reader(path, memory).header()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # an empty file cannot be mapped
        raise ConfigError(f"{path}: not a GGUF file: {error}") from None


class _Reader:
    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self._path = path
        self._memory = memory
        self._size = len(memory)
        self._at = 0

    def header(self) -> Header:
        if self._take(4) != b"GGUF":
            raise self._bad("not a GGUF file")
        version = self._number(_U32)
        if version not in {2, 3}:
            raise self._bad(f"GGUF version {version} is not supported (2 and 3 are; a big-endian file is not)")
        tensors, entries = self._number(_U64), self._number(_U64)
        if tensors > _MAX_ENTRIES or entries > _MAX_ENTRIES:
            raise self._bad(f"claims {tensors} tensors and {entries} entries")
        values: dict[str, Any] = {}
        places: dict[str, int] = {}
        vocabulary = slice(0, 0)
        for _ in range(entries):
            name = self._text(_MAX_NAME)
            places[name] = self._at + 4
            self._read_value(name, self._number(_U32), values)
            if name == "tokenizer.ggml.tokens":
                vocabulary = slice(places[name], self._at)
        parameters, weights = self._tensors(tensors, values)
        marks = self._special(values, places)
        return Header(self._path, values, marks, parameters, weights, self._fills_gaps(marks, vocabulary))

    def _read_value(self, name: str, kind: int, values: dict[str, Any]) -> None:
        if kind == _ARRAY:
            self._read_list(name, values)
        elif kind == _STRING:
            values[name] = self._text(_MAX_TEXT)
        else:
            values[name] = self._number(self._scalar(kind))

    def _read_list(self, name: str, values: dict[str, Any]) -> None:
        kind, count = self._number(_U32), self._number(_U64)
        if count > self._size:
            raise self._bad(f"{name} claims {count} elements")
        values[f"{name}#"] = count
        if kind == _STRING:
            self._skip_texts(count)
            return
        scalar = self._scalar(kind)
        if count > _MAX_KEPT:
            self._skip(scalar.size * count)
        else:
            values[name] = [item[0] for item in scalar.iter_unpack(self._take(scalar.size * count))]

    def _skip_texts(self, count: int) -> None:
        memory, unpack, at = self._memory, _U64.unpack_from, self._at
        last = self._size - 8
        for _ in range(count):
            if at > last:
                raise self._short()
            at += 8 + unpack(memory, at)[0]
        self._at = at
        self._take(0)

    def _special(self, values: dict[str, Any], places: dict[str, int]) -> dict[str, str]:
        """The texts of the tokens that `tokenizer.ggml.<mark>_token_id` name, by walking the vocabulary once."""
        ends = "_token_id"
        wanted: dict[int, list[str]] = {}
        for name, value in values.items():
            if name.startswith("tokenizer.ggml.") and name.endswith(ends) and isinstance(value, int):
                mark = name.removeprefix("tokenizer.ggml.").removesuffix(ends)
                wanted.setdefault(value, []).append(mark)
        found: dict[str, str] = {}
        count = values.get("tokenizer.ggml.tokens#", 0)
        if not wanted or "tokenizer.ggml.tokens" not in places:
            return found
        self._at = places["tokenizer.ggml.tokens"]
        if self._number(_U32) != _STRING:
            return found
        self._number(_U64)
        position = 0
        for token in sorted(token for token in wanted if 0 <= token < count):
            self._skip_texts(token - position)
            text = self._text(_MAX_NAME)
            position = token + 1
            found |= dict.fromkeys(wanted[token], text)
        return found

    def _fills_gaps(self, marks: dict[str, str], vocabulary: slice) -> bool:
        if {"fim_pre", "prefix"} & marks.keys():
            return True
        words = (mark.encode() for mark in _GAP_MARKS)
        return any(
            self._memory.find(_U64.pack(len(word)) + word, vocabulary.start, vocabulary.stop) >= 0 for word in words
        )

    def _tensors(self, count: int, values: dict[str, Any]) -> tuple[int, int]:
        """Elements and bytes of all tensors; checks that the file holds them."""
        parameters = weights = end = 0
        for _ in range(count):
            name = self._text(_MAX_NAME)
            dimensions = self._number(_U32)
            if dimensions > 8:
                raise self._bad(f"tensor {name} claims {dimensions} dimensions")
            elements = math.prod(self._number(_U64) for _ in range(dimensions))
            block, size = _BLOCKS.get(self._number(_U32), (1, 0))
            offset = self._number(_U64)
            length = elements // block * size
            parameters += elements
            weights += length
            end = max(end, offset + length)
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= _MAX_NAME:
            raise self._bad(f"alignment {alignment}")
        begin = -(-self._at // alignment) * alignment
        if count and begin + end > self._size:
            raise self._bad(f"is cut short: {self._size} bytes of {begin + end}; copy or download it again")
        return parameters, weights

    def _scalar(self, kind: int) -> struct.Struct:
        if kind not in _SCALARS:
            raise self._bad(f"unknown value type {kind}")
        return _SCALARS[kind]

    def _number(self, kind: struct.Struct) -> Any:
        return kind.unpack(self._take(kind.size))[0]

    def _text(self, limit: int) -> str:
        length = self._number(_U64)
        if length > limit:
            raise self._bad(f"a text of {length} bytes where at most {limit} are allowed")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        begin = self._at
        self._skip(count)
        return self._memory[begin : self._at]

    def _skip(self, count: int) -> None:
        if self._at + count > self._size:
            raise self._short()
        self._at += count

    def _short(self) -> ConfigError:
        return self._bad("is cut short or damaged: its header does not end within the file")

    def _bad(self, what: str) -> ConfigError:
        return ConfigError(f"{self._path}: {what}")
