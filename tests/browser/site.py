"""The server that the pages are looked at with."""

import json
from pathlib import Path
from typing import Any

from tests.end_to_end.process import Server
from velesio.backends.diffusion.discovery import DEMO_NAME, demo_file

TEXT = "smollm2-135m-instruct"
MARKUP = "<img src=x onerror=alert(1)>"
"""A model's name that would be an attack where it is taken for markup."""
ECHO = "parrot"


def painter(folder: Path) -> dict[str, Any]:
    """The model that draws: the demo checkpoint, or where this copy has none, a tiny one with random weights."""
    if demo_file():
        return {"name": DEMO_NAME, "backend": "diffusion"}
    from tests.backends.diffusion import tiny

    path = tiny.write(folder / "models" / "checkpoints" / "tiny.safetensors")
    return {"name": "tiny", "backend": "diffusion", "path": str(path), "native": 64}


def models(folder: Path) -> list[dict[str, Any]]:
    """What it serves: one that writes, one that draws, and echo models that do as they are told."""
    return [
        {"name": TEXT, "backend": "llama"},
        painter(folder),
        {"name": ECHO, "backend": "echo"},
        {"name": MARKUP, "backend": "echo"},
    ]


def start_server(folder: Path, *settings: str) -> Server:
    """All roles in one process, with every kind of model."""
    own = [f"models={toml(models(folder))}", f"server.models_dir={folder / 'models'}"]
    # room for a thousand jobs at once
    return Server("all", folder, *own, "queue.cap=2000", "queue.tenant_cap=2000", *settings)


def toml(tables: list[dict[str, Any]]) -> str:
    """Tables as `--set` reads them."""
    inline = (", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items()) for table in tables)
    return "[" + ", ".join(f"{{ {table} }}" for table in inline) + "]"
