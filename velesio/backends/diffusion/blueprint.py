"""A blueprint: everything about a checkpoint that can be known without loading it.

From a single file in the original layout, told by names and shapes, or from a diffusers folder, told by its
configuration files. A single file's metadata may hold `velesio.config`: JSON of the same parts, which comes before
what shapes say (see docs/image-models.md).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from velesio.backends.diffusion import families, geometry, header, layout
from velesio.backends.diffusion.families import Encoder, Family
from velesio.errors import ModelLoadFailed

_METADATA = "velesio.config"
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "model.safetensors")
_TEXT_WEIGHTS = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.safetensors")


class Part(NamedTuple):
    """One network of a checkpoint."""

    config: dict[str, Any]
    files: tuple[Path, ...]
    """Its tensors' files; for a folder of several the networks' own names."""
    names: layout.Names | None
    """Where its tensors are; None: they have the network's names."""


class Blueprint(NamedTuple):
    """What a checkpoint is."""

    path: Path
    family: Family
    unet: Part
    vae: Part
    encoders: tuple[Part, ...]
    prediction: str
    """epsilon, v_prediction or sample; empty: nobody says."""
    noise: dict[str, Any]
    """`beta_start`, `beta_end`, `beta_schedule`, `num_train_timesteps`, `rescale_betas_zero_snr`."""
    scale: float
    """What latents are multiplied by."""
    size: int
    """Pixels of a side that it was made for."""
    bytes: int
    """Of its tensors, as stored."""
    tokenizers: tuple[Path | None, ...] = ()
    """Folders of the encoders' tokenizers; None: the one that ships."""
    metadata: dict[str, str] = {}  # noqa: RUF012 - never changed

    @property
    def factor(self) -> int:
        """Pixels of a latent's side."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    @property
    def multiple(self) -> int:
        """What sides of pictures must be multiples of."""
        return self.factor * int(2 ** (len(self.unet.config["block_out_channels"]) - 1))

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.vae.config["latent_channels"])

    @property
    def attends_at_first(self) -> bool:
        """Whether the UNet has attention at the size of its latents."""
        return "Attn" in self.unet.config["down_block_types"][0]

    @property
    def inpaints(self) -> bool:
        """Whether the UNet is shown a mask and what is around it."""
        return int(self.unet.config.get("in_channels", 4)) == 2 * self.channels + 1


def read(path: Path) -> Blueprint:
    """The blueprint of a safetensors file or a folder.

    Raises:
        ModelLoadFailed: if it is damaged or no checkpoint that can be used; the message says why.
    """
    try:
        return _of_folder(path) if path.is_dir() else _of_file(path)
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise ModelLoadFailed(f"{path} is no complete checkpoint: {type(error).__name__}: {error}") from error


def _of_file(path: Path) -> Blueprint:
    head = header.read(path)
    return of_shapes(path, head.shapes, head.metadata, head.bytes)


def of_shapes(path: Path, shapes: geometry.Shapes, metadata: dict[str, str], size: int) -> Blueprint:
    """The blueprint of tensors in the original layout.

    Raises:
        ModelLoadFailed, KeyError: if they are none of a checkpoint.
    """
    family = families.of_names(shapes)
    if family is None:
        raise ModelLoadFailed(
            f"{path} holds no Stable Diffusion checkpoint of the families {', '.join(families.FAMILIES)}"
        )
    said: dict[str, Any] = json.loads(metadata.get(_METADATA, "{}"))
    names = list(shapes)
    vae = geometry.vae(shapes) | said.get("vae", {})
    return Blueprint(
        path=path,
        family=family,
        unet=Part(geometry.unet(shapes) | said.get("unet", {}), (path,), layout.unet(names)),
        vae=Part(vae, (path,), layout.vae(names)),
        encoders=tuple(_encoder(path, shapes, encoder, said) for encoder in family.encoders),
        prediction=_prediction(shapes, metadata, said.get("scheduler", {})),
        noise={"rescale_betas_zero_snr": "ztsnr" in shapes} | said.get("scheduler", {}),
        scale=vae.get("scaling_factor", family.scale),
        size=_size(said.get("unet", {}), vae, family),
        bytes=size,
        tokenizers=(_beside(path),) * len(family.encoders),
        metadata=metadata,
    )


def _beside(path: Path) -> Path | None:
    """The tokenizer in a folder with a single file's name, for models with a vocabulary of their own."""
    folder = path.with_suffix("") / "tokenizer"
    return folder if folder.is_dir() else None


def _encoder(path: Path, shapes: geometry.Shapes, encoder: Encoder, said: Mapping[str, Any]) -> Part:
    prefix = layout.first_prefix(shapes, encoder.prefixes)
    if prefix is None:
        raise ModelLoadFailed(f"{path} has no text encoder ({encoder.prefixes[0]}…)")
    names = layout.open_clip(list(shapes), prefix) if prefix in layout.OPEN_CLIP else layout.clip(list(shapes), prefix)
    config = encoder.config | geometry.text_encoder(shapes, names) | said.get(encoder.folder, {})
    if not config["projects"]:
        names = {name: piece for name, piece in names.items() if not name.startswith("text_projection")}
    return Part(config, (path,), names)


def _prediction(shapes: geometry.Shapes, metadata: Mapping[str, str], scheduler: Mapping[str, Any]) -> str:
    said = str(scheduler.get("prediction_type") or metadata.get("modelspec.prediction_type", ""))
    if "v_pred" in shapes or said in {"v", "v_prediction", "vpred"}:
        return "v_prediction"
    return said if said in {"epsilon", "sample"} else ""


def _size(unet: Mapping[str, Any], vae: Mapping[str, Any], family: Family) -> int:
    side = unet.get("sample_size")
    return int(side) * int(2 ** (len(vae["block_out_channels"]) - 1)) if isinstance(side, int) else family.size


def _of_folder(path: Path) -> Blueprint:
    unet, vae = _component(path / "unet"), _component(path / "vae")
    family = families.of_config(unet.config)
    folders = [path / encoder.folder for encoder in family.encoders]
    encoders = tuple(_text_component(folder, encoder) for folder, encoder in zip(folders, family.encoders, strict=True))
    scheduler = _json(path / "scheduler" / "scheduler_config.json")
    parts = (unet, vae, *encoders)
    return Blueprint(
        path=path,
        family=family,
        unet=unet,
        vae=vae,
        encoders=encoders,
        prediction=str(scheduler.get("prediction_type", "")),
        noise=scheduler,
        scale=vae.config.get("scaling_factor", family.scale),
        size=_size(unet.config, vae.config, family),
        bytes=sum(header.read(file).bytes for part in parts for file in part.files),
        tokenizers=tuple(_tokenizer(path, encoder) for encoder in family.encoders),
    )


def _component(folder: Path) -> Part:
    return Part(_json(folder / "config.json"), _files(folder, _WEIGHTS), None)


def _text_component(folder: Path, encoder: Encoder) -> Part:
    config = encoder.config | _json(folder / "config.json")
    files = _files(folder, _TEXT_WEIGHTS)
    names = [name for file in files for name in header.read(file).shapes]
    config["projects"] = any(name.startswith("text_projection") for name in names)
    return Part(config, files, layout.clip(names, ""))


def _files(folder: Path, candidates: tuple[str, ...]) -> tuple[Path, ...]:
    """A network's weights: one file, or those that an index names."""
    for name in candidates:
        if (folder / name).exists():
            return (folder / name,)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        return tuple(sorted({folder / name for name in _json(index)["weight_map"].values()}))
    raise ModelLoadFailed(f"{folder} holds no safetensors weights ({', '.join(candidates)})")


def _tokenizer(path: Path, encoder: Encoder) -> Path | None:
    folder = path / encoder.folder.replace("text_encoder", "tokenizer")
    return folder if folder.is_dir() else None


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ModelLoadFailed(f"{path} holds no JSON object")
    return found
