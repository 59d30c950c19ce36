"""Sampler chains and the candidates that they choose from, as llama.cpp has them."""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from velesio.backends.llama.sampling import Step

if TYPE_CHECKING:
    from velesio.backends.llama.binding.model import Model


class Chain:
    """A sampler chain: one sequence's way of choosing tokens, with its random state."""

    __slots__ = ("handle",)

    def __init__(self, model: "Model", steps: Sequence[Step]) -> None:
        self.handle = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        for step in steps:
            make = _SPECIAL.get(step.name)
            sampler = make(model, *step.arguments) if make else _make(step)
            c.llama_sampler_chain_add(self.handle, sampler)

    def apply(self, candidates: "Candidates") -> int:
        """Chooses one of `candidates`, without telling the penalties; returns its place among them, whose order and
        number the samplers change. -1: nothing to choose from."""
        c.llama_sampler_apply(self.handle, candidates.pointer)
        return candidates.struct.selected

    def accept(self, tokens: Iterable[int]) -> None:
        """Tells the penalties of tokens that were not sampled here."""
        for token in tokens:
            c.llama_sampler_accept(self.handle, token)

    def close(self) -> None:
        """Frees the chain and its samplers."""
        if self.handle:
            c.llama_sampler_free(self.handle)
            self.handle = None


class Candidates:
    """Room for the tokens that a chain may choose from: `rows` has the columns `id`, `logit` and `p`."""

    def __init__(self, n_vocab: int) -> None:
        self.rows = np.zeros(n_vocab, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._data: Any = self.rows.ctypes.data_as(ctypes.POINTER(c.llama_token_data))
        self.struct = c.llama_token_data_array(self._data, n_vocab, -1, False)
        self.pointer = ctypes.byref(self.struct)

    def fill(self, logits: npt.NDArray[np.float32], ids: npt.NDArray[np.int32] | None = None) -> None:
        """Takes the tokens `ids`, or all, with their logits of the whole vocabulary."""
        count = len(self.rows) if ids is None else len(ids)
        rows = self.rows[:count]
        rows["id"] = self._ids if ids is None else ids
        rows["logit"] = logits if ids is None else logits[ids]
        rows["p"] = 0
        self.struct.data = self._data
        self.struct.size = count
        self.struct.selected = -1
        self.struct.sorted = False

    @property
    def left(self) -> npt.NDArray[np.void]:
        """The rows that a chain left over."""
        return self.rows[: self.struct.size]


def _make(step: Step) -> Any:
    return getattr(c, f"llama_sampler_init_{step.name}")(*step.arguments)


def _logit_bias(model: "Model", biases: Sequence[tuple[int, float]]) -> Any:
    array = (c.llama_logit_bias * len(biases))(*(c.llama_logit_bias(token, bias) for token, bias in biases))
    return c.llama_sampler_init_logit_bias(model.n_vocab, len(biases), array)


def _penalties(model: "Model", *arguments: Any) -> Any:
    return c.llama_sampler_init_penalties(model.n_vocab, *arguments)


def _dry(model: "Model", *arguments: Any) -> Any:
    *numbers, breakers = arguments
    array = (ctypes.c_char_p * max(1, len(breakers)))(*breakers)
    return c.llama_sampler_init_dry(model.vocab, *numbers, array, len(breakers))


def _mirostat(model: "Model", *arguments: Any) -> Any:
    return c.llama_sampler_init_mirostat(model.n_vocab, *arguments)


def _infill(model: "Model") -> Any:
    return c.llama_sampler_init_infill(model.vocab)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "infill": _infill,
    "logit_bias": _logit_bias,
    "penalties": _penalties,
    "dry": _dry,
    "mirostat": _mirostat,
}
"""Samplers that need the vocabulary besides their arguments."""
