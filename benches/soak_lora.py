"""An adapter for the soak: random low-rank weights of SmolLM2's first layers, as a GGUF file."""

import random
import struct
from array import array
from pathlib import Path

_WIDTH = 576
_RANK = 4
_LAYERS = 2
_STRING, _F32 = 8, 6
_ALIGNED = 32


def write(path: Path, seed: int = 3) -> Path:
    """Writes the adapter; at scale 1 it changes answers visibly."""
    chance = random.Random(seed)
    entries = {
        "general.architecture": _text("llama"),
        "general.type": _text("adapter"),
        "adapter.type": _text("lora"),
        "adapter.lora.alpha": struct.pack("<If", _F32, _RANK),
    }
    tensors = {
        f"blk.{layer}.attn_output.weight.lora_{side}": (shape, _random(chance))
        for layer in range(_LAYERS)
        for side, shape in (("a", (_WIDTH, _RANK)), ("b", (_RANK, _WIDTH)))
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    head += b"".join(_name(name) + value for name, value in entries.items())
    place = 0
    for name, (shape, numbers) in tensors.items():
        head += _name(name) + struct.pack("<IQQIQ", 2, *shape, 0, place)
        place += len(numbers) + -len(numbers) % _ALIGNED
    body = b"".join(numbers + bytes(-len(numbers) % _ALIGNED) for _, numbers in tensors.values())
    path.write_bytes(head + bytes(-len(head) % _ALIGNED) + body)
    return path


def _random(chance: random.Random) -> bytes:
    return array("f", (chance.gauss(0, 0.5) for _ in range(_WIDTH * _RANK))).tobytes()


def _name(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _text(text: str) -> bytes:
    return struct.pack("<I", _STRING) + _name(text)
