"""Wheel: it is built, and looked at before anybody installs it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent

_WANTED = (
    "velesio/py.typed",
    "velesio/backends/diffusion/demo/velesio-demo.safetensors",
    "velesio/backends/diffusion/demo/velesio-demo/model_index.json",
    "velesio/backends/diffusion/demo/velesio-demo/tokenizer/vocab.json",
    "velesio/backends/diffusion/demo/controlnet/*.safetensors",
    "velesio/backends/diffusion/demo/loras/*.safetensors",
    "velesio/backends/diffusion/demo/embeddings/*.safetensors",
    "velesio/backends/diffusion/clip/bpe_simple_vocab_16e6.txt.gz",
    "velesio/backends/diffusion/clip/LICENSE",
    "velesio/http/pages/templates/*.html",
    "velesio/http/pages/static/*.js",
    "velesio/http/pages/static/*.css",
    "velesio/queue/lua/*.lua",
    "*.dist-info/licenses/LICENSE",
    "*.dist-info/licenses/velesio/backends/diffusion/clip/LICENSE",
    "*.dist-info/entry_points.txt",
)
_KINDS = {".py", ".typed", ".lua", ".js", ".css", ".html", ".svg", ".json", ".txt", ".gz", ".safetensors", ""}
"""What the names of files in the package end with; more kinds are strays."""
_LARGEST = 10 << 20
_WHOLE = 20 << 20


def build(folder: Path) -> Path:
    """The wheel, built from the sdist that is built as well, so that this is whole, too.

    Raises:
        subprocess.CalledProcessError
    """
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("velesio-*.whl")
    return wheel


def faults(wheel: Path) -> list[str]:
    """What is wrong with its contents; empty: nothing."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    return [*_missing(sizes), *_strays(sizes)]


def _missing(names: Iterable[str]) -> list[str]:
    """Every file of the source that git knows must be there, and what is wanted by name."""
    names = set(names)
    tracked = {str(path.relative_to(ROOT)) for path in _source()}
    lacking = [f"{name} is missing" for name in sorted(tracked - names)]
    return lacking + [f"nothing is like {want}" for want in _WANTED if not any(fnmatch(name, want) for name in names)]


def _source() -> Iterable[Path]:
    return (path for path in (ROOT / "velesio").rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _strays(sizes: dict[str, int]) -> list[str]:
    found = []
    for name, size in sizes.items():
        if not name.startswith("velesio/") and ".dist-info/" not in name:
            found.append(f"{name} does not belong into the package")
        elif name.startswith("velesio/") and Path(name).suffix not in _KINDS:
            found.append(f"{name} is of a kind that the package has none of")
        elif size > _LARGEST:
            found.append(f"{name} has {size} bytes")
    if sum(sizes.values()) > _WHOLE:
        found.append(f"all together are {sum(sizes.values())} bytes")
    return found
