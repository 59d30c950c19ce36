"""The plug-in: finds checkpoints and loads them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from velesio.backends.base import Catalogue, Engine, ModelCard
from velesio.backends.diffusion import lean
from velesio.backends.diffusion.discovery import Found, discover
from velesio.errors import ModelLoadFailed

if TYPE_CHECKING:
    from velesio.backends.diffusion.loading import Source


class DiffusionBackend:
    """Checkpoints of Stable Diffusion."""

    name: ClassVar[str] = "diffusion"

    def __init__(self, catalogue: Catalogue) -> None:
        self._found: dict[str, Found] = {model.card.name: model for model in discover(catalogue)}

    def models(self) -> list[ModelCard]:
        """The cards, from the files' heads alone."""
        return [model.card for model in self._found.values()]

    def load(self, card: ModelCard, report: Callable[[float], None]) -> Engine:
        """Loads a checkpoint's networks.

        Raises:
            ModelLoadFailed: if torch or diffusers is not installed, or the file is refused.
        """
        try:
            lean.import_networks()
            from velesio.backends.diffusion import loading  # noqa: PLC0415 - imports torch
            from velesio.backends.diffusion.device import Device  # noqa: PLC0415
            from velesio.backends.diffusion.engine import DiffusionEngine  # noqa: PLC0415
            from velesio.backends.diffusion.models import Models  # noqa: PLC0415
        except ImportError as error:
            raise ModelLoadFailed(f"{error}; install velesio[images]") from error
        found = self._found[card.name]
        device = Device(found.options)
        networks = loading.load(self._source(found), device, report)
        others = {name: self._source(other) for name, other in self._found.items() if name != card.name}
        models = Models(networks, device, found.library, others, found.options, name=card.name)
        return DiffusionEngine(models, device, found.options)

    def _source(self, found: Found) -> "Source":
        from velesio.backends.diffusion import loading  # noqa: PLC0415 - imports torch

        return loading.Source(found.path, found.options, found.library.embeddings.files)


def backend(catalogue: Catalogue) -> DiffusionBackend:
    """The factory that the entry point names."""
    return DiffusionBackend(catalogue)
