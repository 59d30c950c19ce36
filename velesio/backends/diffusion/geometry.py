"""The measures of a model, read from the shapes of its tensors: how wide, how deep, what it attends to.

Works on the original layout. What shapes do not say (heads, groups of a normalization, the scale of latents) is the
family's, or stands in the file's own metadata.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from velesio.backends.diffusion import layout

Shapes = Mapping[str, tuple[int, ...]]

_GROUPS = 32
_HEAD = 64
"""Width of an attention head of all models but the first ones, which have eight heads at every width."""


class Level(NamedTuple):
    """One level of a UNet's way down."""

    width: int
    transformers: int
    """Transformer blocks in each attention; 0: it has none."""


def unet(shapes: Shapes, prefix: str = layout.UNET) -> dict[str, Any]:
    """The configuration of `UNet2DConditionModel`, or the part of it that a ControlNet shares."""
    inner = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    resnets = layout.resnets_per_level(list(inner))
    levels = _levels(inner, resnets)
    context = next((shape[1] for name, shape in inner.items() if name.endswith("attn2.to_k.weight")), 768)
    linear = any(name.endswith("proj_in.weight") and len(shape) == 2 for name, shape in inner.items())
    middle = _count(inner, r"^middle_block\.1\.transformer_blocks\.(\d+)\.")
    found: dict[str, Any] = {
        "in_channels": inner["input_blocks.0.0.weight"][1],
        "block_out_channels": [level.width for level in levels],
        "layers_per_block": resnets,
        "down_block_types": ["CrossAttnDownBlock2D" if level.transformers else "DownBlock2D" for level in levels],
        "cross_attention_dim": context,
        "use_linear_projection": linear,
        "attention_head_dim": _heads(levels) if linear else 8,
        "transformer_layers_per_block": [level.transformers or 1 for level in levels],
        "norm_num_groups": _groups([level.width for level in levels]),
    }
    if found["transformer_layers_per_block"][-1] != max(middle, 1):  # the middle takes the last level's number
        found["transformer_layers_per_block"][-1] = max(middle, 1)
    if "label_emb.0.0.weight" in inner:
        found |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": inner["label_emb.0.0.weight"][1],
        }
    if "out.2.weight" in inner:
        found["out_channels"] = inner["out.2.weight"][0]
        found["up_block_types"] = [
            "CrossAttnUpBlock2D" if level.transformers else "UpBlock2D" for level in reversed(levels)
        ]
        found["mid_block_type"] = "UNetMidBlock2DCrossAttn"
    return found


def control(shapes: Shapes, prefix: str = layout.CONTROL) -> dict[str, Any]:
    """The configuration of `ControlNetModel`."""
    hints = sorted(
        (int(name.split(".")[-2]), shape[0])
        for name, shape in shapes.items()
        if name.startswith(f"{prefix}input_hint_block.") and name.endswith(".weight")
    )
    widths = [width for _, width in hints[:-1]]
    return unet(shapes, prefix) | {
        "conditioning_embedding_out_channels": [width for place, width in enumerate(widths) if place % 2 == 0],
        "conditioning_channels": shapes[f"{prefix}input_hint_block.0.weight"][1],
    }


def vae(shapes: Shapes, prefix: str = layout.VAE) -> dict[str, Any]:
    """The configuration of `AutoencoderKL`, but for the scale of its latents."""
    inner = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    levels = _count(inner, r"^encoder\.down\.(\d+)\.")
    widths = [inner[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)]
    return {
        "block_out_channels": widths,
        "layers_per_block": _count(inner, r"^encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": inner["decoder.conv_in.weight"][1],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": _groups(widths),
        "use_quant_conv": "quant_conv.weight" in inner,
        "use_post_quant_conv": "post_quant_conv.weight" in inner,
    }


def text_encoder(shapes: Shapes, names: layout.Names) -> dict[str, Any]:
    """The configuration of a text encoder, as published ones write it."""
    piece = names["text_model.embeddings.token_embedding.weight"]
    vocabulary, width = shapes[piece.name]
    inner = shapes[names["text_model.encoder.layers.0.mlp.fc1.weight"].name][0]
    layers = _count(names, r"^text_model\.encoder\.layers\.(\d+)\.")
    projection = names.get("text_projection.weight")
    pooled = shapes[projection.name][1 if projection.turned else 0] if projection else 0
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(width // _HEAD, 1),
        "intermediate_size": inner,
        "max_position_embeddings": shapes[names["text_model.embeddings.position_embedding.weight"].name][0],
        "projection_dim": pooled,
        "projects": bool(pooled),
    }


def _levels(inner: Shapes, resnets: int) -> list[Level]:
    count = _count(inner, r"^input_blocks\.(\d+)\.") - 1
    levels = []
    for level in range((count + 1) // (resnets + 1)):
        number = 1 + level * (resnets + 1)
        transformers = _count(inner, rf"^input_blocks\.{number}\.1\.transformer_blocks\.(\d+)\.")
        levels.append(Level(inner[f"input_blocks.{number}.0.out_layers.3.weight"][0], transformers))
    return levels


def _heads(levels: Sequence[Level]) -> list[int]:
    return [max(level.width // _HEAD, 1) for level in levels]


def _groups(widths: Sequence[int]) -> int:
    """32, or as many as every width can be cut into."""
    groups = _GROUPS
    while any(width % groups for width in widths):
        groups //= 2
    return groups


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """One more than the highest number that a pattern finds in the names; 0: it finds none."""
    compiled = re.compile(pattern)
    return max((int(match[1]) + 1 for name in names if (match := compiled.match(name))), default=0)
