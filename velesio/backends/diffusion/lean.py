"""Lean: diffusers' networks without two things that diffusers imports where it finds them and that nothing here uses.

`transformers` and torch's compiler (`torch._dynamo`, and with it sympy and torch.distributed) are three fifths of the
processor time of the import and 90 MiB of a process's memory.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_NETWORKS = (
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.controlnets.controlnet",
)
_UNUSED = "transformers"
_COMPILER = "torch._dynamo"


def import_networks() -> None:
    """Imports what the backend takes from diffusers, unless somebody has imported diffusers before.

    To diffusers transformers is then not installed: in this process its pipelines are placeholders. Whoever imports
    either of the two hidden modules afterwards gets the real one.

    Raises:
        ImportError: torch or diffusers is not installed.
    """
    if "diffusers" in sys.modules:
        return
    importlib.import_module("torch")
    before = set(sys.modules)
    try:
        with _hidden():
            for name in _NETWORKS:
                importlib.import_module(name)
    except (ImportError, AttributeError, TypeError, RuntimeError):  # a diffusers that needs more than it is shown
        for name in [name for name in set(sys.modules) - before if name.partition(".")[0] == "diffusers"]:
            del sys.modules[name]
        for name in _NETWORKS:
            importlib.import_module(name)


@contextlib.contextmanager
def _hidden() -> Iterator[None]:
    """Nobody finds transformers, and torch's compiler is a stand-in; neither, if it has been imported before."""
    shown: dict[str, ModuleType | None] = {_UNUSED: None, _COMPILER: _stand_in()}
    fresh = [name for name in shown if name not in sys.modules]
    for name in fresh:
        sys.modules[name] = shown[name]  # type: ignore[assignment]  # None is how Python spells "cannot be imported"
    try:
        yield
    finally:
        for name in fresh:
            sys.modules.pop(name, None)


def _stand_in() -> ModuleType:
    """A compiler whose decorators leave functions as they are, as it does where nothing is compiled."""
    module = ModuleType(_COMPILER)
    module.allow_in_graph = module.disable = _as_it_is  # type: ignore[attr-defined]
    return module


def _as_it_is(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    return _as_it_is if function is None else function
