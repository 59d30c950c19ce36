"""Tiny models with random weights, and adapters, written for tests: llama.cpp runs them like any other."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.backends.llama.gguf_file import ARRAY, BOOL, F32, I32, STRING, U32, value
from tests.backends.llama.gguf_file import text as packed_text

Entries = dict[str, tuple[int, Any]]
Tensors = dict[str, "np.ndarray[Any, Any]"]

WIDTH, HIDDEN, LAYERS, HEADS = 32, 64, 2, 4
WORDS = ("hello", "world", "paris", "is", "the", "capital", "of", "france", "berlin", "cat", "dog", "blue")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTROL, NORMAL = 3, 1


def write(path: Path, entries: Mapping[str, tuple[int, Any]], tensors: Tensors) -> Path:
    """A GGUF file of 32-bit tensors."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    head += b"".join(
        packed_text(name) + struct.pack("<I", kind) + value(kind, item) for name, (kind, item) in entries.items()
    )
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head += packed_text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", 0, len(data))
        raw = np.ascontiguousarray(tensor, np.float32).tobytes()
        data += raw + bytes(-len(raw) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def _random(seed: int, shapes: Mapping[str, tuple[int, ...]], *, ones: tuple[str, ...]) -> Tensors:
    generator = np.random.default_rng(seed)
    return {
        name: np.ones(shape) if any(part in name for part in ones) else generator.normal(0, 0.3, shape)
        for name, shape in shapes.items()
    }


def _hyper(architecture: str, *, context: int) -> Entries:
    return {
        "general.architecture": (STRING, architecture),
        "general.type": (STRING, "model"),
        f"{architecture}.context_length": (U32, context),
        f"{architecture}.embedding_length": (U32, WIDTH),
        f"{architecture}.block_count": (U32, LAYERS),
        f"{architecture}.feed_forward_length": (U32, HIDDEN),
        f"{architecture}.attention.head_count": (U32, HEADS),
    }


def bert(path: Path, *, pooling: int, context: int = 64, seed: int = 1) -> Path:
    """An encoder with a WordPiece vocabulary of `WORDS`; with pooling 4 it has a head that rates."""
    tokens = [*MARKS, *(f"\u2581{word}" for word in WORDS), *"abcdefghij"]
    entries = _hyper("bert", context=context) | {
        "bert.attention.layer_norm_epsilon": (F32, 1e-12),
        "bert.attention.causal": (BOOL, False),
        "bert.pooling_type": (U32, pooling),
        "tokenizer.ggml.model": (STRING, "bert"),
        "tokenizer.ggml.token_type_count": (U32, 2),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, [CONTROL] * len(MARKS) + [NORMAL] * (len(tokens) - len(MARKS)))),
        "tokenizer.ggml.padding_token_id": (U32, 0),
        "tokenizer.ggml.unknown_token_id": (U32, 1),
        "tokenizer.ggml.bos_token_id": (U32, 2),
        "tokenizer.ggml.cls_token_id": (U32, 2),
        "tokenizer.ggml.eos_token_id": (U32, 3),
        "tokenizer.ggml.seperator_token_id": (U32, 3),
        "tokenizer.ggml.mask_token_id": (U32, 4),
    }
    square, out, up = (WIDTH, WIDTH), (WIDTH,), (HIDDEN, WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(tokens), WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (context, WIDTH),
        "token_embd_norm.weight": out,
        "token_embd_norm.bias": out,
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes |= {f"{block}{name}.weight": square, f"{block}{name}.bias": out}
        for name in ("attn_output_norm", "layer_output_norm"):
            shapes |= {f"{block}{name}.weight": out, f"{block}{name}.bias": out}
        shapes |= {f"{block}ffn_up.weight": up, f"{block}ffn_up.bias": (HIDDEN,)}
        shapes |= {f"{block}ffn_down.weight": up[::-1], f"{block}ffn_down.bias": out}
    if pooling == 4:
        shapes |= {"cls.weight": square, "cls.bias": out, "cls.output.weight": (1, WIDTH), "cls.output.bias": (1,)}
    return write(path, entries, _random(seed, shapes, ones=("norm.weight",)))


def _byte_letters() -> list[str]:
    """How byte-level vocabularies write the 256 bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


def decoder(
    path: Path, *, marks: tuple[str, ...] = (), seed: int = 2, text: Mapping[str, str] | None = None, **more: Any
) -> Path:
    """A causal model whose tokens are the 256 bytes, the begin mark 256, the end mark 257, and control tokens
    `marks` from 258 on; `text` and `more` are further entries: texts, and numbers, dots written as two underscores."""
    tokens = [*_byte_letters(), "<s>", "</s>", *marks]
    entries = _hyper("llama", context=512) | {
        "llama.attention.head_count_kv": (U32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "default"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, [NORMAL] * 256 + [CONTROL] * (len(tokens) - 256))),
        "tokenizer.ggml.merges": (ARRAY, (STRING, [])),
        "tokenizer.ggml.bos_token_id": (U32, 256),
        "tokenizer.ggml.eos_token_id": (U32, 257),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        **{name: (STRING, said) for name, said in (text or {}).items()},
        **{name.replace("__", "."): (U32, number) for name, number in more.items()},
    }
    square, up = (WIDTH, WIDTH), (HIDDEN, WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(tokens), WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (len(tokens), WIDTH),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        shapes |= {f"{block}{name}.weight": square for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"{block}{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"{block}ffn_gate.weight": up, f"{block}ffn_up.weight": up, f"{block}ffn_down.weight": up[::-1]}
    return write(path, entries, _random(seed, shapes, ones=("norm.weight",)))


def projector(path: Path, *, size: int = 16, patch: int = 4, width: int = WIDTH, seed: int = 5) -> Path:
    """The eyes of a `decoder`: it sees a picture, made square, as (size / patch)² tokens of `width` numbers."""
    entries: Entries = {
        "general.architecture": (STRING, "clip"),
        "general.type": (STRING, "mmproj"),
        "clip.has_vision_encoder": (BOOL, True),
        "clip.projector_type": (STRING, "mlp"),
        "clip.use_gelu": (BOOL, True),
        "clip.vision.embedding_length": (U32, WIDTH),
        "clip.vision.feed_forward_length": (U32, HIDDEN),
        "clip.vision.block_count": (U32, LAYERS),
        "clip.vision.projection_dim": (U32, width),
        "clip.vision.attention.head_count": (U32, HEADS),
        "clip.vision.attention.layer_norm_epsilon": (F32, 1e-5),
        "clip.vision.image_size": (U32, size),
        "clip.vision.patch_size": (U32, patch),
        "clip.vision.image_mean": (ARRAY, (F32, [0.5] * 3)),
        "clip.vision.image_std": (ARRAY, (F32, [0.5] * 3)),
    }
    square, out, up = (WIDTH, WIDTH), (WIDTH,), (HIDDEN, WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (WIDTH, 3, patch, patch),
        "v.position_embd.weight": ((size // patch) ** 2, WIDTH),
    }
    for layer in range(LAYERS):
        block = f"v.blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= {f"{block}{name}.weight": square, f"{block}{name}.bias": out}
        for name in ("ln1", "ln2"):
            shapes |= {f"{block}{name}.weight": out, f"{block}{name}.bias": out}
        shapes |= {f"{block}ffn_up.weight": up, f"{block}ffn_up.bias": (HIDDEN,)}
        shapes |= {f"{block}ffn_down.weight": up[::-1], f"{block}ffn_down.bias": out}
    shapes |= {"mm.0.weight": square, "mm.0.bias": out, "mm.2.weight": (width, WIDTH), "mm.2.bias": (width,)}
    return write(path, entries, _random(seed, shapes, ones=("ln1.weight", "ln2.weight")))


def lora(path: Path, *, width: int = 576, seed: int = 3, size: float = 0.5, rank: int = 4, task: str = "") -> Path:
    """An adapter of two layers' attention outputs, by default for SmolLM2-135M."""
    entries: Entries = {
        "general.architecture": (STRING, "llama"),
        "general.type": (STRING, "adapter"),
        "adapter.type": (STRING, "lora"),
        "adapter.lora.alpha": (F32, float(rank)),
        "adapter.lora.task_name": (STRING, task),
    }
    generator = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in (0, 1):
        name = f"blk.{layer}.attn_output.weight"
        tensors[f"{name}.lora_a"] = generator.normal(0, size, (rank, width))
        tensors[f"{name}.lora_b"] = generator.normal(0, size, (width, rank))
    return write(path, entries, tensors)
