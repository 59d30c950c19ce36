"""Original names: what Stable Diffusion's own checkpoints call the tensors of diffusers' networks. Pure."""

import re
from collections.abc import Container, Sequence

_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}
_HINT = re.compile(r"^controlnet_cond_embedding\.blocks\.(\d+)$")
_ZERO = re.compile(r"^controlnet_down_blocks\.(\d+)$")
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_SIDE = re.compile(r"^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$")
_MIDDLE = re.compile(r"^mid_block\.(resnets|attentions)\.(\d+)\.(.+)$")
_AUTOENCODER = (
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
_DECODER_LEVEL = re.compile(r"\.up_blocks\.(\d+)\.(resnets|upsamplers\.0)\.")


def unet_name(name: str, resnets: int, attending: Container[int]) -> str:
    """The original name of a UNet's or ControlNet's tensor; `resnets` a level on the way down, attention at the
    levels `attending` of the way up."""
    stem, _, kind = name.rpartition(".")
    if outer := _outer(stem):
        return f"{outer}.{kind}"
    if middle := _MIDDLE.match(name):
        place = f"middle_block.{2 * int(middle[2])}" if middle[1] == "resnets" else "middle_block.1"
        return f"{place}.{_inner(middle[1], middle[3])}"
    side = _SIDE.match(name)
    if side is None:
        raise KeyError(f"no original name for {name}")
    way, level, part, number, rest = side[1], int(side[2]), side[3], int(side[4]), side[5]
    first = level * (resnets + 1)
    if part == "downsamplers":
        return f"input_blocks.{first + resnets + 1}.0.{rest.replace('conv.', 'op.')}"
    if part == "upsamplers":
        return f"output_blocks.{first + resnets}.{2 if level in attending else 1}.{rest}"
    place = f"input_blocks.{first + number + 1}" if way == "down" else f"output_blocks.{first + number}"
    return f"{place}.{0 if part == 'resnets' else 1}.{_inner(part, rest)}"


def _outer(stem: str) -> str:
    """Of what lies outside of the blocks; empty: it lies inside."""
    if hint := _HINT.match(stem):
        return f"input_hint_block.{2 * int(hint[1]) + 2}"
    if zero := _ZERO.match(stem):
        return f"zero_convs.{zero[1]}.0"
    return _OUTER.get(stem, "")


def attentive(up_block_types: Sequence[str]) -> list[int]:
    """Which levels on the way up have attention."""
    return [level for level, kind in enumerate(up_block_types) if kind.startswith("Cross")]


def _inner(part: str, rest: str) -> str:
    """The rest of a name inside a residual block; attention keeps its own."""
    stem, _, kind = rest.rpartition(".")
    return f"{_RESNET[stem]}.{kind}" if part == "resnets" else rest


def autoencoder_name(name: str, levels: int) -> str:
    """The original name of an autoencoder's tensor; the decoder's levels are counted from the other end."""
    if level := _DECODER_LEVEL.search(name):
        part = "block" if level[2] == "resnets" else "upsample"
        return _sub_all(f"{name[: level.start()]}.up.{levels - 1 - int(level[1])}.{part}.{name[level.end() :]}")
    return _sub_all(name)


def _sub_all(name: str) -> str:
    for pattern, replacement in _AUTOENCODER:
        name = re.sub(pattern, replacement, name)
    return name
