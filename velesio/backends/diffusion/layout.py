"""The original layout of Stable Diffusion's checkpoints: what its tensors are called in diffusers' modules.

Everything is told by names and shapes; nothing is loaded here. `Names` maps the file's name of a tensor to the
module's; where one tensor becomes several or changes its form, `Piece` says how.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CONTROL = "control_model."
CLIP_L = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.1.model.", "conditioner.embedders.0.model.")

_BLOCK = re.compile(r"^(input_blocks|output_blocks|middle_block)\.(\d+)\.(.*)$")
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTER = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block_out.0": "controlnet_mid_block",
}
_VAE_PARTS = (
    (re.compile(r"\.down\.(\d+)\.block\.(\d+)\."), r".down_blocks.\1.resnets.\2."),
    (re.compile(r"\.down\.(\d+)\.downsample\."), r".down_blocks.\1.downsamplers.0."),
    (re.compile(r"\.mid\.block_1\."), ".mid_block.resnets.0."),
    (re.compile(r"\.mid\.block_2\."), ".mid_block.resnets.1."),
    (re.compile(r"\.mid\.attn_1\.norm\."), ".mid_block.attentions.0.group_norm."),
    (re.compile(r"\.mid\.attn_1\.([qkv])\."), r".mid_block.attentions.0.to_\1."),
    (re.compile(r"\.mid\.attn_1\.proj_out\."), ".mid_block.attentions.0.to_out.0."),
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
    (re.compile(r"\.norm_out\."), ".conv_norm_out."),
)
_VAE_UP = re.compile(r"\.up\.(\d+)\.(block\.(\d+)|upsample)\.")
_OPEN_CLIP = (
    (re.compile(r"^transformer\.resblocks\.(\d+)\.ln_([12])\."), r"text_model.encoder.layers.\1.layer_norm\2."),
    (re.compile(r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\."), r"text_model.encoder.layers.\1.mlp.fc1."),
    (re.compile(r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\."), r"text_model.encoder.layers.\1.mlp.fc2."),
    (
        re.compile(r"^transformer\.resblocks\.(\d+)\.attn\.out_proj\."),
        r"text_model.encoder.layers.\1.self_attn.out_proj.",
    ),
    (re.compile(r"^ln_final\."), "text_model.final_layer_norm."),
    (re.compile(r"^token_embedding\."), "text_model.embeddings.token_embedding."),
    (re.compile(r"^positional_embedding$"), "text_model.embeddings.position_embedding.weight"),
)
_IN_PROJ = re.compile(r"^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$")


class Piece(NamedTuple):
    """A module's tensor from a file's."""

    name: str
    """In the file."""
    third: int = -1
    """Which third of its rows; -1: all."""
    turned: bool = False
    """Whether rows and columns change places."""


Names = dict[str, Piece]
"""The module's name → where it comes from."""


def with_prefix(names: Iterable[str], prefix: str) -> list[str]:
    """The rest of those names that begin with a prefix."""
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def first_prefix(names: Iterable[str], prefixes: Sequence[str]) -> str | None:
    """The first prefix that any of the names has."""
    names = list(names)
    return next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in names)), None)


def resnets_per_level(names: Iterable[str]) -> int:
    """How many residual blocks a level of a UNet has before it is halved."""
    numbers = [int(match[2]) for name in names if (match := _BLOCK.match(name)) and match[1] == "input_blocks"]
    halved = {
        int(match[2])
        for name in names
        if (match := _BLOCK.match(name)) and match[1] == "input_blocks" and match[3].startswith("0.op.")
    }
    return (min(halved) if halved else max(numbers, default=1) + 1) - 1


def unet(names: Sequence[str], prefix: str = UNET) -> Names:
    """Of a UNet, or of a ControlNet with its own prefix."""
    inner = with_prefix(names, prefix)
    count = resnets_per_level(inner)
    hints = _hints(inner)
    found = {}
    for name in inner:
        target = _unet_name(name, count, hints)
        if target is not None:
            found[target] = Piece(prefix + name)
    return found


def unet_name(name: str, resnets: int) -> str | None:
    """The module's name of one tensor of a UNet with so many residual blocks a level; None: it has no place."""
    return _unet_name(name, resnets, {})


def _unet_name(name: str, resnets: int, hints: Mapping[str, str]) -> str | None:
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    if stem.startswith("input_hint_block."):
        return f"controlnet_cond_embedding.{hints[stem]}.{kind}"
    if zero := re.match(r"^zero_convs\.(\d+)\.0$", stem):
        return f"controlnet_down_blocks.{zero[1]}.{kind}"
    match = _BLOCK.match(name)
    if match is None:
        return None
    place, number, rest = match[1], int(match[2]), match[3]
    if place == "middle_block":
        return _middle(number, rest)
    return _side(place, number, rest, resnets)


def _middle(number: int, rest: str) -> str:
    if number == 1:
        return f"mid_block.attentions.0.{rest}"
    return f"mid_block.resnets.{number // 2}.{_resnet(rest)}"


def _side(place: str, number: int, rest: str, resnets: int) -> str:
    side = "down_blocks" if place == "input_blocks" else "up_blocks"
    level, inside = divmod(number - (place == "input_blocks"), resnets + 1)
    part, _, rest = rest.partition(".")
    if place == "input_blocks" and inside == resnets:
        return f"{side}.{level}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv."):
        return f"{side}.{level}.upsamplers.0.{rest}"
    if part == "0":
        return f"{side}.{level}.resnets.{inside}.{_resnet(rest)}"
    return f"{side}.{level}.attentions.{inside}.{rest}"


def _resnet(rest: str) -> str:
    stem, _, kind = rest.rpartition(".")
    return f"{_RESNET.get(stem, stem)}.{kind}"


def _hints(names: Iterable[str]) -> dict[str, str]:
    """The convolutions that read a ControlNet's picture: first, in between, last."""
    stems = {name.rpartition(".")[0] for name in names if name.startswith("input_hint_block.")}
    ordered = sorted(stems, key=lambda stem: int(stem.rpartition(".")[2]))
    inner = {stem: f"blocks.{number}" for number, stem in enumerate(ordered[1:-1])}
    return inner | dict.fromkeys(ordered[:1], "conv_in") | dict.fromkeys(ordered[1:][-1:], "conv_out")


def vae(names: Sequence[str], prefix: str = VAE) -> Names:
    """Of an autoencoder."""
    inner = [name for name in with_prefix(names, prefix) if name.startswith(("encoder.", "decoder.", "quant", "post_"))]
    ups = [int(match[1]) for name in inner if (match := _VAE_UP.search(name))]
    return {vae_name(name, max(ups, default=0)): Piece(prefix + name) for name in inner}


def vae_name(name: str, last_up: int) -> str:
    """The module's name of one of its tensors. The decoder's levels are counted from the other end."""
    if match := _VAE_UP.search(name):
        level = last_up - int(match[1])
        part = f"resnets.{match[3]}" if match[3] else "upsamplers.0"
        name = f"{name[: match.start()]}.up_blocks.{level}.{part}.{name[match.end() :]}"
    for pattern, replacement in _VAE_PARTS:
        name = pattern.sub(replacement, name)
    return name


def clip(names: Sequence[str], prefix: str) -> Names:
    """Of a text encoder with the published names, whether they begin with `text_model.` or not."""
    found = {}
    for name in with_prefix(names, prefix):
        if name.endswith("position_ids"):
            continue
        bare = name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
        found[bare] = Piece(prefix + name)
    return found


def open_clip(names: Sequence[str], prefix: str) -> Names:
    """Of an OpenCLIP text encoder."""
    found: Names = {}
    for name in with_prefix(names, prefix):
        if match := _IN_PROJ.match(name):
            for third, part in enumerate("qkv"):
                target = f"text_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}"
                found[target] = Piece(prefix + name, third)
        elif name == "text_projection":
            found["text_projection.weight"] = Piece(prefix + name, turned=True)
        elif name == "text_projection.weight":
            found[name] = Piece(prefix + name)
        else:
            target = name
            for pattern, replacement in _OPEN_CLIP:
                target = pattern.sub(replacement, target)
            if target.startswith("text_model."):
                found[target] = Piece(prefix + name)
    return found
