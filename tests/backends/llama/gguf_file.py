"""Small GGUF files, written for tests."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10

MINIMAL: dict[str, tuple[int, Any]] = {
    "general.architecture": (STRING, "llama"),
    "general.type": (STRING, "model"),
    "general.name": (STRING, "Tiny"),
    "general.file_type": (U32, 1),
    "llama.context_length": (U32, 512),
    "llama.embedding_length": (U32, 64),
    "llama.block_count": (U32, 2),
    "llama.feed_forward_length": (U32, 128),
    "llama.attention.head_count": (U32, 4),
    "llama.attention.head_count_kv": (U32, 2),
    "tokenizer.ggml.model": (STRING, "gpt2"),
    "tokenizer.ggml.tokens": (ARRAY, (STRING, ["<s>", "</s>", "a", "é"])),
    "tokenizer.ggml.scores": (ARRAY, (F32, [0.0, 0.0, 1.0, 2.0])),
    "tokenizer.ggml.bos_token_id": (U32, 0),
    "tokenizer.ggml.eos_token_id": (U32, 1),
    "tokenizer.chat_template": (STRING, "{{ messages[0].content }}"),
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind: int, content: Any) -> bytes:
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        inner, items = content
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}[kind], content)


def contents(entries: Mapping[str, tuple[int, Any]] = MINIMAL, *, tensor: tuple[int, ...] = (64, 4)) -> bytes:
    """A file with one F16 tensor."""
    size = 2
    for length in tensor:
        size *= length
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries))
    head += b"".join(text(name) + struct.pack("<I", kind) + value(kind, item) for name, (kind, item) in entries.items())
    head += text("token_embd.weight") + struct.pack("<I", len(tensor))
    head += struct.pack(f"<{len(tensor)}Q", *tensor) + struct.pack("<IQ", 1, 0)
    return head + bytes(-len(head) % 32) + bytes(size)


def write(path: Path, entries: Mapping[str, tuple[int, Any]] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents(MINIMAL | dict(entries or {})))
    return path
