"""A server of its own that draws, with a checkpoint of random weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.backends.diffusion import tiny
from tests.end_to_end.process import Server, own_folder, running


@contextmanager
def drawing(*settings: str, furnish: Callable[[Path], None] | None = None) -> Iterator[Server]:
    """A server with these settings whose folder of models has the checkpoint `checkpoints/tiny.safetensors`, and what
    `furnish` puts beside it."""
    with own_folder() as folder:
        tiny.write(folder / "checkpoints" / "tiny.safetensors")
        if furnish:
            furnish(folder)
        fixed = (f"server.models_dir={folder}", "demo=false")
        with running(Server("all", folder, *fixed, *settings, env={"OMP_NUM_THREADS": "1"})) as server:
            yield server
