"""ESRGAN: the networks of most upscaler files, as modules of torch, read from any of the names they are saved under.

`ResidualDense` is that of ESRGAN (Wang et al. 2018) and Real-ESRGAN, `Compact` the small one of Real-ESRGAN (2021).
"""

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

State = Mapping[str, Tensor]

_LEAK = 0.2
_RESIDUAL = 0.2


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the results of those before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 5):
            setattr(self, f"conv{number}", nn.Conv2d(features + (number - 1) * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for number in range(1, 5):
            made = functional.leaky_relu(getattr(self, f"conv{number}")(seen), _LEAK)
            seen = torch.cat([seen, made], dim=1)
        return x + _RESIDUAL * cast("Tensor", self.conv5(seen))


class _Trio(nn.Module):
    """Three dense blocks."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(features, growth)
        self.rdb2 = _DenseBlock(features, growth)
        self.rdb3 = _DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + _RESIDUAL * cast("Tensor", self.rdb3(self.rdb2(self.rdb1(x))))


class ResidualDense(nn.Module):
    """The residual-in-residual dense network; `shuffle` pixels of a side are folded into channels first."""

    def __init__(self, *, features: int, growth: int, blocks: int, doublings: int, shuffle: int, channels: int) -> None:
        super().__init__()
        self.shuffle, self.doublings = shuffle, doublings
        self.scale = 2**doublings // shuffle
        self.conv_first = nn.Conv2d(channels * shuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*(_Trio(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for number in range(1, doublings + 1):
            setattr(self, f"conv_up{number}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) from 0 to 1 to pictures `scale` times as large; sides are multiples of `shuffle`."""
        x = self.conv_first(functional.pixel_unshuffle(x, self.shuffle))
        x = x + self.conv_body(self.body(x))
        for number in range(1, self.doublings + 1):
            x = functional.leaky_relu(
                getattr(self, f"conv_up{number}")(functional.interpolate(x, scale_factor=2)), _LEAK
            )
        return cast("Tensor", self.conv_last(functional.leaky_relu(self.conv_hr(x), _LEAK)))


class Compact(nn.Module):
    """A plain row of convolutions whose last one makes `scale`² colours for each pixel."""

    shuffle = 1

    def __init__(self, *, features: int, layers: int, scale: int, channels: int) -> None:
        super().__init__()
        self.scale = scale
        row: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(layers):
            row += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.Sequential(*row, nn.Conv2d(features, channels * scale**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) from 0 to 1 to pictures `scale` times as large."""
        return functional.pixel_shuffle(self.body(x), self.scale) + functional.interpolate(x, scale_factor=self.scale)


Network = ResidualDense | Compact


def network(state: State) -> Network | None:
    """The network of these weights, in float32; None: they are of another kind.

    Raises:
        RuntimeError: if some are missing or too many; the message names them.
    """
    names = {_modern(name, state): tensor.float() for name, tensor in state.items()}
    if "conv_first.weight" in names and "body.0.rdb1.conv1.weight" in names:
        made: Network = _dense(names)
    elif "body.0.weight" in names and "body.1.weight" in names and names["body.1.weight"].ndim == 1:
        made = _compact(names)
    else:
        return None
    made.load_state_dict(names)
    return made.requires_grad_(False).eval()


def _dense(names: dict[str, Tensor]) -> ResidualDense:
    channels = names["conv_last.weight"].shape[0]
    features, folded = names["conv_first.weight"].shape[:2]
    return ResidualDense(
        features=features,
        growth=names["body.0.rdb1.conv1.weight"].shape[0],
        blocks=1 + max(int(name.split(".")[1]) for name in names if name.startswith("body.")),
        doublings=sum(bool(re.match(r"conv_up\d\.weight$", name)) for name in names),
        shuffle=round((folded / channels) ** 0.5),
        channels=channels,
    )


def _compact(names: dict[str, Tensor]) -> Compact:
    last = max(int(name.split(".")[1]) for name in names)
    features, channels = names["body.0.weight"].shape[:2]
    scale = round((names[f"body.{last}.weight"].shape[0] / channels) ** 0.5)
    return Compact(features=features, layers=last // 2 - 1, scale=scale, channels=channels)


_NAMES = (
    (re.compile(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\."), r"body.\1.rdb\2.conv\3."),
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\."), r"body.\1.rdb\2.conv\3."),
    (re.compile(r"^model\.1\.sub\.\d+\."), "conv_body."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^model\.0\."), "conv_first."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)
_NUMBERED = re.compile(r"^model\.(\d+)\.(weight|bias)$")


def _modern(name: str, state: State) -> str:
    """Real-ESRGAN's name of a tensor that is called as in ESRGAN's first or second release."""
    for pattern, replacement in _NAMES:
        name, count = pattern.subn(replacement, name)
        if count:
            return name
    numbered = _NUMBERED.match(name)
    if numbered is None:
        return name
    number = int(numbered[1])
    last = max(int(match[1]) for other in state if (match := _NUMBERED.match(other)))
    place = {last: "conv_last", last - 2: "conv_hr"}.get(number, f"conv_up{number // 3}")
    return f"{place}.{numbered[2]}"
