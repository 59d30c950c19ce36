"""The models that an engine has at hand: its checkpoint, and whatever jobs name besides: VAEs, further checkpoints,
ControlNets. These are loaded when they are first used, and the longest unused ones are dropped when bytes run short."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from velesio.backends.diffusion import autoencoder, loading, taesd, upscale
from velesio.backends.diffusion.adapters import Adapters
from velesio.backends.diffusion.autoencoder import Autoencoder
from velesio.backends.diffusion.calls import SMALL
from velesio.backends.diffusion.controlnet import Control
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.library import BESIDE, Library
from velesio.backends.diffusion.loading import Source
from velesio.backends.diffusion.networks import Networks
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.taesd import Taesd
from velesio.errors import BadRequest


class _Sized(Protocol):
    @property
    def bytes(self) -> int: ...


_Model = TypeVar("_Model", bound=_Sized)
_AUTOMATIC = {"", "automatic"}


class Models:
    """An engine's models by name."""

    def __init__(
        self,
        own: Networks,
        device: Device,
        library: Library,
        others: Mapping[str, Source],
        options: Options,
        *,
        name: str = "",
    ) -> None:
        """`others`: the further checkpoints that jobs may name; `name`: how they call the engine's own."""
        self.own = own
        self._name = name
        self.library = library
        self._device = device
        self._others = others
        self._options = options
        self._room = options.cache_bytes or own.blueprint.bytes // 2
        self._kept: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()
        self._adapters = {"": Adapters(own, library.loras, allow_pickle=options.allow_pickle, room=self._room)}
        self._digests: dict[Path, str] = {}

    def networks(self, checkpoint: str = "") -> Networks:
        """A checkpoint's networks; empty, or its name: the engine's own.

        Raises:
            BadRequest: if no checkpoint is called so.
            ModelLoadFailed: if it cannot be loaded.
        """
        if not checkpoint or _stem(checkpoint) == self._name:
            return self.own
        source = self.source(checkpoint)
        return self._get("checkpoint", checkpoint, lambda: loading.load(source, self._device, lambda _part: None))

    def source(self, checkpoint: str) -> Source:
        """Where a further checkpoint lies.

        Raises:
            BadRequest: if no checkpoint is called so.
        """
        found = self._others.get(_stem(checkpoint))
        if found is None:
            there = ", ".join(sorted(self._others)[:8]) or "none"
            raise BadRequest(f"no checkpoint is called {checkpoint!r}; this worker has {there}", param="checkpoint")
        return found

    def vae(self, name: str, checkpoint: str = "") -> Autoencoder | Taesd:
        """An autoencoder by its file's name, that of a checkpoint, or its small one.

        Raises:
            BadRequest: if there is no such file.
            ModelLoadFailed: if it cannot be loaded.
        """
        if name == SMALL:
            files = self.small(checkpoint)
            if not files:
                raise taesd.missing(self.networks(checkpoint).blueprint)
            allow = self._options.allow_pickle
            return self._get("vae", str(files[0]), lambda: taesd.load(files, self._device, allow_pickle=allow))
        own = self.networks(checkpoint)
        path = self.vae_file(name, checkpoint)
        if path is None:
            return own.vae
        scale, pickles = own.vae.scale, self._options.allow_pickle
        return self._get("vae", str(path), lambda: autoencoder.load(path, self._device, scale, allow_pickle=pickles))

    def small(self, checkpoint: str = "") -> tuple[Path, ...]:
        """The files of a checkpoint's small autoencoder; empty: there is none."""
        files = self.library.small.files
        for stem in taesd.stems(self.networks(checkpoint).blueprint):
            sides = (f"{stem}_{side}" for side in (taesd.ENCODER, taesd.DECODER))
            if found := tuple(files[name] for name in (stem, *sides) if name in files):
                return found
        return ()

    def vae_file(self, name: str, checkpoint: str = "") -> Path | None:
        """The file that a VAE's name means; None: the checkpoint's own one.

        Raises:
            BadRequest: if there is no such file.
        """
        if name.lower() not in _AUTOMATIC:
            return None if name.lower() == "none" else self.library.vaes.find(name, "vae")
        beside = self.networks(checkpoint).blueprint.path.with_suffix(BESIDE)
        return beside if beside.is_file() else None

    def control(self, name: str, checkpoint: str = "") -> Control:
        """A ControlNet by its file's name, for a checkpoint.

        Raises:
            BadRequest: if there is no such file.
            ModelLoadFailed: if it cannot be loaded.
        """
        path = self.library.controls.find(name, "controls")
        networks, pickles = self.networks(checkpoint), self._options.allow_pickle
        return self._get("control", str(path), lambda: Control.load(path, networks, self._device, allow_pickle=pickles))

    def upscaler(self, name: str) -> str | upscale.Model:
        """An upscaler by its name: one that is arithmetic stays a name.

        Raises:
            ModelLoadFailed: if its file cannot be loaded.
        """
        path = self.library.upscalers.get(name)
        if path is None:
            return name
        pickles = self._options.allow_pickle
        return self._get("upscaler", str(path), lambda: upscale.load(path, self._device, allow_pickle=pickles))

    def adapters(self, checkpoint: str = "") -> Adapters:
        """What puts LoRAs onto a checkpoint."""
        if checkpoint not in self._adapters or self._adapters[checkpoint].networks is not self.networks(checkpoint):
            self._adapters[checkpoint] = Adapters(
                self.networks(checkpoint),
                self.library.loras,
                allow_pickle=self._options.allow_pickle,
                room=self._room,
            )
        return self._adapters[checkpoint]

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file in hexadecimal, computed once; empty for a folder."""
        if path not in self._digests:
            if path.is_dir():
                return ""
            with path.open("rb") as file:
                self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[path]

    def drop(self) -> None:
        """Forgets everything but the engine's own checkpoint."""
        self._kept.clear()
        self._adapters = {"": self._adapters[""]}
        self._device.free()

    def _get(self, kind: str, name: str, load: Callable[[], _Model]) -> _Model:
        key = (kind, name)
        if key not in self._kept:
            loaded = load()
            self._kept[key] = (loaded, loaded.bytes)
            self._make_room(key)
        self._kept.move_to_end(key)
        found: _Model = self._kept[key][0]
        return found

    def _make_room(self, new: tuple[str, str]) -> None:
        """Drops the longest unused ones while they take too much; what is new stays whatever its size."""
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._room:
            oldest = next(key for key in self._kept if key != new)
            del self._kept[oldest]
            self._adapters.pop(oldest[1], None)
        self._device.free()


def _stem(checkpoint: str) -> str:
    """A checkpoint's name without the ending and the hash that A1111's clients put behind it."""
    return checkpoint.partition(" [")[0].removesuffix(".safetensors").removesuffix(".ckpt")
