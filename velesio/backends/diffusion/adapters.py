"""Adapters: LoRAs and their kin put onto a checkpoint's weights, and taken off again.

The difference that an adapter makes to each weight is computed once and added; the weights as they were are kept, so
that taking it off leaves no trace. Forms: LoRA, LoCon, LoHa, LoKr, whole differences and DoRA, by the names of kohya's
scripts, of peft and of diffusers.
"""

import re
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from velesio.backends.diffusion import layout, weights
from velesio.backends.diffusion.calls import Applied
from velesio.backends.diffusion.library import Shelf
from velesio.backends.diffusion.networks import Networks

_ROOM = 256 << 20
"""Bytes of files whose tensors stay in memory, where nothing else is said."""
_KOHYA = re.compile(r"^lora_(unet|te1|te2|te)_(.+?)\.(.+)$")
_SCOPES = {"unet": "unet", "te": "te1", "te1": "te1", "te2": "te2", "text_encoder": "te1", "text_encoder_2": "te2"}
_DOTTED = re.compile(r"^(?:base_model\.model\.)?(?:(unet|text_encoder_2|text_encoder|te1|te2)\.)?(.+)$")
_ENDINGS = (
    (re.compile(r"\.lora_A(?:\.default)?\.weight$"), "lora_down.weight"),
    (re.compile(r"\.lora_B(?:\.default)?\.weight$"), "lora_up.weight"),
    (re.compile(r"\.lora_linear_layer\.(down|up)\.weight$"), r"lora_\1.weight"),
    (re.compile(r"\.lora\.(down|up)\.weight$"), r"lora_\1.weight"),
    (re.compile(r"_lora\.(down|up)\.weight$"), r"lora_\1.weight"),
    (re.compile(r"\.alpha$"), "alpha"),
)
_ORIGINAL = re.compile(r"^(input_blocks|output_blocks|middle_block)_(\d+)_(?:(\d+)_)?(.+)$")
_DOTS = {"in_layers_2": "in_layers.2", "emb_layers_1": "emb_layers.1", "out_layers_3": "out_layers.3"}

Parts = dict[str, Tensor]
"""The tensors of one weight's change, by the ends of their names."""


class Target(NamedTuple):
    """A weight that an adapter changes: the network and the module's name with `_` for `.`."""

    scope: str
    """unet, te1 or te2."""
    name: str


def read(tensors: Mapping[str, Tensor], resnets: int) -> dict[Target, Parts]:
    """The changes that a file holds. `resnets`: residual blocks of a level of the UNet, for names of the original
    layout."""
    found: dict[Target, Parts] = defaultdict(dict)
    for name in tensors:
        place = _kohya(name, resnets) or _dotted(name)
        if place is not None:
            target, part = place
            found[target][part] = tensors[name]
    return dict(found)


def _kohya(name: str, resnets: int) -> tuple[Target, str] | None:
    match = _KOHYA.match(name)
    if match is None:
        return None
    scope = _SCOPES[match[1]]
    return Target(scope, _from_original(match[2], resnets) if scope == "unet" else match[2]), match[3]


def _from_original(name: str, resnets: int) -> str:
    """The module's name of one in the original layout; any other as it is."""
    match = _ORIGINAL.match(name)
    if match is None:
        return name
    side, number, part, rest = match.groups()
    inner = _DOTS.get(rest, rest)
    dotted = ".".join(each for each in (side, number, part, inner, "weight") if each)
    found = layout.unet_name(dotted, resnets) or name
    return found.removesuffix(".weight").replace(".", "_")


def _dotted(name: str) -> tuple[Target, str] | None:
    for pattern, part in _ENDINGS:
        if match := pattern.search(name):
            scoped = _DOTTED.match(name[: match.start()])
            if scoped is None:
                return None
            inner = scoped[2].replace(".processor", "")
            return Target(_SCOPES[scoped[1] or "unet"], inner.replace(".", "_")), match.expand(part)
    return None


def change(parts: Parts, weight: Tensor) -> Tensor | None:
    """What an adapter at weight 1 adds to a weight, in float32; None: it is of a kind that is not known."""
    given = {name: tensor.to(weight.device, torch.float32) for name, tensor in parts.items()}
    found = _product(given, weight.shape)
    if found is None:
        return None
    if "dora_scale" in given:
        whole = weight.float() + found
        norms = whole.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (whole.dim() - 2))
        found = whole * (given["dora_scale"].reshape(norms.shape) / norms) - weight.float()
    return found


def _product(parts: Parts, shape: torch.Size) -> Tensor | None:
    if "lora_up.weight" in parts and "lora_down.weight" in parts:
        return _lora(parts).reshape(shape)
    if "hada_w1_a" in parts:
        one, other = (_hadamard(parts, number) for number in "12")
        return (one * other).reshape(shape) * _scale(parts, parts["hada_w1_b"].shape[0])
    if "lokr_w1" in parts or "lokr_w1_a" in parts:
        return _kronecker(parts, shape)
    return parts["diff"].reshape(shape) if "diff" in parts else None


def _lora(parts: Parts) -> Tensor:
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    scale = _scale(parts, down.shape[0])
    if "lora_mid.weight" in parts:
        return torch.einsum("nmkl,in,mj->ijkl", parts["lora_mid.weight"], up.flatten(1), down.flatten(1)) * scale
    return up.flatten(1) @ down.flatten(1) * scale


def _hadamard(parts: Parts, number: str) -> Tensor:
    one, other = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"]
    if f"hada_t{number}" in parts:
        return torch.einsum("ijkl,jr,ip->prkl", parts[f"hada_t{number}"], other, one)
    return one @ other


def _kronecker(parts: Parts, shape: torch.Size) -> Tensor:
    factors = []
    rank = 0
    for number in "12":
        whole = parts.get(f"lokr_w{number}")
        if whole is None:
            one, other = parts[f"lokr_w{number}_a"], parts[f"lokr_w{number}_b"]
            rank = other.shape[0]
            if "lokr_t2" in parts and number == "2":
                whole = torch.einsum("ijkl,ip,jr->prkl", parts["lokr_t2"], one, other)
            else:
                whole = one @ other.flatten(1)
                if number == "2" and other.dim() == 4:
                    whole = whole.view(one.shape[0], *other.shape[1:])
        factors.append(whole)
    first, second = factors
    if second.dim() == 4:
        first = first.unsqueeze(2).unsqueeze(2)
    return torch.kron(first, second).reshape(shape) * (_scale(parts, rank) if rank else 1.0)


def _scale(parts: Parts, rank: int) -> float:
    return float(parts["alpha"]) / rank if "alpha" in parts and rank else 1.0


class Adapters:
    """What is put onto one checkpoint."""

    def __init__(self, networks: Networks, shelf: Shelf, *, allow_pickle: bool, room: int = _ROOM) -> None:
        """`room`: bytes of files that are kept beside those in use."""
        self.networks = networks
        self._shelf = shelf
        self._allow_pickle = allow_pickle
        self._room = room
        self._resnets = int(networks.unet.config["layers_per_block"])
        self._applied: tuple[Applied, ...] = ()
        self._originals: dict[Target, Tensor] = {}
        self._files: OrderedDict[str, dict[Target, Parts]] = OrderedDict()
        self._modules = _modules(networks)

    @property
    def bytes(self) -> int:
        """Of the files that are kept."""
        files = self._files.values()
        return sum(tensor.nbytes for changes in files for parts in changes.values() for tensor in parts.values())

    def fits(self, name: str) -> str:
        """Empty, or why an adapter does nothing here."""
        path = self._shelf.get(name)
        if path is None:
            return f"there is no LoRA called {name!r}"
        changes = self._changes(name)
        if not any(target in self._modules for target in changes):
            return f"the LoRA {name!r} is for another kind of model"
        return ""

    def apply(self, wanted: tuple[Applied, ...]) -> None:
        """Puts the adapters onto the weights, and takes off those that are not among them.

        Raises:
            ModelLoadFailed: if a file cannot be read.
        """
        if wanted == self._applied:
            return
        sums = self._sums(wanted)
        self._applied = ()  # if what follows fails, the next call starts from the beginning
        for target in self._originals.keys() - sums.keys():
            self._modules[target].weight.data.copy_(self._originals.pop(target))
        for target, parts in sums.items():
            module = self._modules[target]
            if target not in self._originals:
                self._originals[target] = module.weight.detach().to("cpu", copy=True)
            original = self._originals[target].to(module.weight.device)
            module.weight.data.copy_(original.float() + _total(parts, original))
        self._applied = wanted

    def _sums(self, wanted: Sequence[Applied]) -> dict[Target, list[tuple[float, Parts]]]:
        sums: dict[Target, list[tuple[float, Parts]]] = defaultdict(list)
        for each in wanted:
            for target, parts in self._changes(each.name).items():
                strength = each.unet if target.scope == "unet" else each.text
                if strength and target in self._modules:
                    sums[target].append((strength, parts))
        return dict(sums)

    def _changes(self, name: str) -> dict[Target, Parts]:
        if name not in self._files:
            with weights.opened(self._shelf.find(name), allow_pickle=self._allow_pickle) as tensors:
                self._files[name] = read(tensors, self._resnets)
            while len(self._files) > 1 and self.bytes > self._room:
                self._files.popitem(last=False)
        self._files.move_to_end(name)
        return self._files[name]


def _total(parts: Sequence[tuple[float, Parts]], original: Tensor) -> Tensor:
    total = torch.zeros_like(original, dtype=torch.float32)
    for strength, each in parts:
        found = change(each, original)
        if found is not None:
            total += found * strength
    return total


def _modules(networks: Networks) -> dict[Target, nn.Linear | nn.Conv2d]:
    """Every weight that an adapter may change."""
    scopes: list[tuple[str, nn.Module]] = [("unet", networks.unet)]
    readers = networks.conditioner.readers
    places = ("te1", "te2") if len(readers) > 1 or networks.blueprint.family.name != "sdxl-refiner" else ("te2",)
    scopes += [(place, reader.encoder) for place, reader in zip(places, readers, strict=False)]
    return {
        Target(scope, name.replace(".", "_")): module
        for scope, network in scopes
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
