"""LoRA adapters: which of them work on a job, and how strongly."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

from velesio.backends.llama.binding import Adapter, Model
from velesio.backends.llama.options import LoraFile
from velesio.errors import BadRequest
from velesio.jobs import TextParams

AdapterSet = tuple[tuple[int, float], ...]
"""(adapter id, scale), by id, none with scale 0. Jobs with different sets are never computed in one batch, and what is
cached with one set is of no use with another."""

MAX_SCALE = 1000.0


class Adaptable(Protocol):
    """What computes with adapters: a context."""

    def adapt(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Computes with these adapters from now on, and without any others."""


class Adapters:
    """The adapters of one model, loaded with it."""

    def __init__(self, model: Model, files: Sequence[LoraFile]) -> None:
        """Loads `files`, whose paths are as they are from here; their ids are their places.

        Raises:
            ModelLoadFailed: if llama.cpp refuses one, as it does when it was made for another model.
        """
        self._loaded: list[Adapter] = []
        self._applied: WeakKeyDictionary[Adaptable, AdapterSet] = WeakKeyDictionary()
        """What is in force on a context; contexts start without any."""
        self.default = _ordered((number, file.scale) for number, file in enumerate(files))
        """The set of a job that does not say."""
        try:
            for file in files:
                self._loaded.append(Adapter(model, Path(file.path)))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._loaded)

    def key_of(self, params: TextParams) -> AdapterSet:
        """The set that a job is computed with.

        Raises:
            BadRequest: for adapters that there are not, and scales that are no use.
        """
        if params.lora is None:
            return self.default
        for number, scale in params.lora:
            if not 0 <= number < len(self._loaded):
                known = f"ids are 0 to {len(self._loaded) - 1}" if self._loaded else "this model has none"
                raise BadRequest(f"there is no LoRA adapter {number}; {known}", param="lora")
            if not math.isfinite(scale) or abs(scale) > MAX_SCALE:
                raise BadRequest(f"the scale of LoRA adapter {number} must be within ±{MAX_SCALE:g}", param="lora")
        return _ordered(dict(params.lora).items())

    def apply(self, context: Adaptable, wanted: AdapterSet) -> None:
        """Lets `context` compute with a set from now on; costs nothing if it does already."""
        if self._applied.get(context, ()) == wanted:
            return
        context.adapt([(self._loaded[number], scale) for number, scale in wanted])
        self._applied[context] = wanted

    def close(self) -> None:
        """Frees the adapters; contexts that used them must be closed before, the model after."""
        for adapter in self._loaded:
            adapter.close()
        self._loaded.clear()


def _ordered(scales: Iterable[tuple[int, float]]) -> AdapterSet:
    return tuple(sorted((number, scale) for number, scale in scales if scale))
