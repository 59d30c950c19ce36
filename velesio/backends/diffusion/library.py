"""The library: files that jobs may name: VAEs and small ones, LoRAs, ControlNets, embeddings, upscalers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from velesio.errors import BadRequest
from velesio.nearest import nearest, quoted

BESIDE = ".vae.safetensors"
"""The ending of a VAE that lies beside its checkpoint."""

_SAFE = (".safetensors", ".sft")
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")


class Shelf(NamedTuple):
    """Files of one kind."""

    kind: str
    """As messages call it."""
    folder: str
    files: dict[str, Path]
    """By name: the file's name without its ending, with folders where two would be alike."""

    def find(self, name: str, param: str | None = None) -> Path:
        """The file that a name means: its name with or without ending, its path, in any case, with or without a hash
        in brackets.

        Raises:
            BadRequest: with the nearest names.
        """
        found = self.get(name)
        if found is None:
            near = nearest(name, self.files, 3, 0.3)
            there = ", ".join(repr(each) for each in near) or (
                "the folder is empty" if not self.files else ", ".join(sorted(self.files)[:5])
            )
            raise BadRequest(
                f"no {self.kind} in {self.folder}/ is called {quoted(name)}; the nearest: {there}", param=param
            )
        return found

    def get(self, name: str) -> Path | None:
        """As `find`; None: there is none."""
        wanted = name.partition(" [")[0].strip()
        if wanted in self.files:
            return self.files[wanted]
        for known, path in self.files.items():
            if wanted.lower() in {known.lower(), path.name.lower(), path.stem.lower()}:
                return path
        return None


class Library(NamedTuple):
    """All shelves."""

    vaes: Shelf
    loras: Shelf
    controls: Shelf
    embeddings: Shelf
    upscalers: Shelf
    small: Shelf
    """TAESDs."""


def look(roots: Sequence[Path], *, allow_pickle: bool) -> Library:
    """What lies in the folders of the roots; of two files with one name that of the first root."""
    kinds = (*_SAFE, *(_PICKLES if allow_pickle else ()))
    return Library(
        vaes=_shelf("VAE", "vae", roots, kinds),
        loras=_shelf("LoRA", "loras", roots, kinds),
        controls=_shelf("ControlNet", "controlnet", roots, kinds),
        embeddings=_shelf("embedding", "embeddings", roots, kinds),
        upscalers=_shelf("upscaler", "upscalers", roots, kinds),
        small=_shelf("TAESD", "taesd", roots, kinds),
    )


def _shelf(kind: str, folder: str, roots: Sequence[Path], endings: Iterable[str]) -> Shelf:
    files: dict[str, Path] = {}
    for root in roots:
        place = root / folder
        for path in sorted(place.rglob("*")) if place.is_dir() else ():
            if path.suffix.lower() in endings and path.is_file():
                name = path.stem if path.stem not in files else str(path.relative_to(place).with_suffix(""))
                files.setdefault(name, path)
    return Shelf(kind, folder, files)
