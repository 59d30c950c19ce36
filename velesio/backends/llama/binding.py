"""llama.cpp's C API, as far as Velesio needs it: the only module that imports `llama_cpp`.

ctypes releases the GIL for each call, so other threads run while the engine's computes.
"""

import ctypes
import logging
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as c

from velesio.backends.llama.options import Options, default_threads, may_repack
from velesio.backends.llama.sampling import Step
from velesio.errors import ModelLoadFailed

_log = logging.getLogger("velesio.backends.llama")
_complaints: deque[str] = deque(maxlen=4)
_LOG_ERROR = 4

_SPLIT = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
_FLASH = {"auto": -1, "off": 0, "on": 1}
_NUMA = {"off": 0, "distribute": 1, "isolate": 2, "numactl": 3, "mirror": 4}
_ROPE = {"model": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}

OK, NO_ROOM = 0, 1
"""What `Context.decode` returns: done, or no free cells for the batch (nothing was computed)."""


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _receive_log(level: int, text: bytes, _data: Any) -> None:
    if level == _LOG_ERROR:
        line = text.decode("utf-8", "replace").strip()
        _complaints.append(line)
        _log.warning("%s", line)
    elif _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s", text.decode("utf-8", "replace").rstrip())


c.llama_log_set(_receive_log, None)
c.llama_backend_init()


class Model:
    """Weights and vocabulary."""

    def __init__(self, path: Path, options: Options, report: Callable[[float], None]) -> None:
        """Loads the file at `path`; `report` is told the part that is done.

        Raises:
            ModelLoadFailed: with llama.cpp's own last words.
        """
        if options.numa != "off":
            c.llama_numa_init(_NUMA[options.numa])
        _complaints.clear()
        parameters = _model_parameters(options)
        watch = _progress(report)
        parameters.progress_callback = watch
        self._model = c.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ModelLoadFailed(f"llama.cpp cannot load {path}: {_last_words()}")
        vocab = self.vocab = c.llama_model_get_vocab(self._model)
        self.n_vocab = int(c.llama_vocab_n_tokens(vocab))
        self.adds_bos = bool(c.llama_vocab_get_add_bos(vocab))
        self.adds_eos = bool(c.llama_vocab_get_add_eos(vocab))
        self.can_cut = not (c.llama_model_is_recurrent(self._model) or c.llama_model_is_hybrid(self._model))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self.bos_text = self._mark(c.llama_vocab_bos(vocab))
        self.eos_text = self._mark(c.llama_vocab_eos(vocab))

    @property
    def handle(self) -> Any:
        """The C pointer, for `Context`."""
        return self._model

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Tokens of `text`, control tokens recognized; `special` adds the begin and end that the model wants."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = c.llama_tokenize(self.vocab, data, len(data), tokens, room, special, True)
        if count < 0:
            tokens = (ctypes.c_int32 * -count)()
            count = c.llama_tokenize(self.vocab, data, len(data), tokens, -count, special, True)
        return tokens[:count]

    def piece(self, token: int) -> bytes:
        """The bytes that a generated token shows; none for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, special=False)
        return known

    def is_end(self, token: int) -> bool:
        """Whether a token ends the generation."""
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = bool(c.llama_vocab_is_eog(self.vocab, token))
        return known

    def end_tokens(self) -> list[int]:
        """Every token that ends the generation."""
        return [token for token in range(self.n_vocab) if self.is_end(token)]

    def text(self, tokens: Iterable[int]) -> str:
        """The text of a prompt's tokens, control tokens shown."""
        return b"".join(self._piece(token, special=True) for token in tokens).decode("utf-8", "replace")

    def close(self) -> None:
        """Frees the weights; contexts must be closed before."""
        if self._model:
            c.llama_model_free(self._model)
            self._model = None

    def _mark(self, token: int) -> str:
        return self._piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = c.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = c.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size]


class Chain:
    """A sampler chain: one sequence's way of choosing tokens, with its random state."""

    __slots__ = ("handle",)

    def __init__(self, model: Model, steps: Sequence[Step]) -> None:
        self.handle = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        for step in steps:
            make = _SPECIAL.get(step.name)
            sampler = make(model, *step.arguments) if make else _make(step)
            c.llama_sampler_chain_add(self.handle, sampler)

    def accept(self, tokens: Iterable[int]) -> None:
        """Tells the penalties of tokens that were not sampled here."""
        for token in tokens:
            c.llama_sampler_accept(self.handle, token)

    def close(self) -> None:
        """Frees the chain and its samplers."""
        if self.handle:
            c.llama_sampler_free(self.handle)
            self.handle = None


class Context:
    """A KV cache with its computation: one batch at a time."""

    def __init__(self, model: Model, options: Options, context: int) -> None:
        """Allocates cells for contexts of `context` tokens.

        Raises:
            ModelLoadFailed: if there is not enough memory.
        """
        _complaints.clear()
        parameters = _context_parameters(options, context)
        self._context = c.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise ModelLoadFailed(f"llama.cpp cannot allocate the context: {_last_words()}")
        self._memory = c.llama_get_memory(self._context)
        self.n_batch = int(c.llama_n_batch(self._context))
        self.n_ubatch = int(c.llama_n_ubatch(self._context))
        self.n_cells = int(c.llama_n_ctx(self._context))
        self.n_context = min(context, int(c.llama_n_ctx_seq(self._context)))
        self.unified = options.kv_unified
        self._batch = _Batch(self.n_batch)

    def add(self, sequence: int, tokens: "array[int]", position: int, *, output: bool) -> int:
        """Puts tokens of a sequence, the first at `position`, into the next batch; with `output` the logits after
        the last one are computed. Returns where it lies, for `sample`."""
        return self._batch.add(sequence, tokens, position, output=output)

    def decode(self) -> int:
        """Computes the batch: `OK`, or `NO_ROOM` with nothing changed. The batch is empty afterwards.

        Raises:
            RuntimeError: if the computation failed; the context cannot be used any more.
        """
        status = int(c.llama_decode(self._context, self._batch.struct))
        c.llama_synchronize(self._context)  # a GPU goes on after llama_decode returned; the caller takes the time
        self._batch.clear()
        if status not in {OK, NO_ROOM}:
            raise RuntimeError(f"llama_decode returned {status}: {_last_words()}")
        return status

    def sample(self, chain: Chain, place: int) -> int:
        """Chooses the token after the batch's token at `place`."""
        return int(c.llama_sampler_sample(chain.handle, self._context, place))

    def remove(self, sequence: int, begin: int = 0) -> bool:
        """Frees a sequence's cells from position `begin` on; False: this model's state cannot be cut there."""
        return bool(c.llama_memory_seq_rm(self._memory, sequence, begin, -1))

    def share(self, source: int, sequence: int, length: int) -> None:
        """Gives an empty `sequence` what `source` holds at positions 0 to `length`: the same cells where they are
        unified, else copies, made at the next decode."""
        c.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)  # separate streams are copied whole or not
        c.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def move(self, source: int, sequence: int) -> None:
        """Gives all that `source` holds to `sequence`, whose own is forgotten."""
        c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        c.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)
        c.llama_memory_seq_rm(self._memory, source, -1, -1)

    def close(self) -> None:
        """Frees the cache."""
        if self._context:
            c.llama_free(self._context)
            self._context = None


class _Batch:
    """The arrays behind a `llama_batch`, allocated once."""

    def __init__(self, size: int) -> None:
        self._token: Any = (ctypes.c_int32 * size)()
        self._position: Any = (ctypes.c_int32 * size)()
        self._sequence = (ctypes.c_int32 * size)()
        self._counts = (ctypes.c_int32 * size)(*([1] * size))
        self._output = (ctypes.c_int8 * size)()
        pointer = ctypes.POINTER(ctypes.c_int32)
        width, begin = ctypes.sizeof(ctypes.c_int32), ctypes.addressof(self._sequence)
        self._pointers = (pointer * size)(*(ctypes.cast(begin + width * index, pointer) for index in range(size)))
        self.struct = c.llama_batch(
            0,
            ctypes.cast(self._token, pointer),
            None,
            ctypes.cast(self._position, pointer),
            ctypes.cast(self._counts, pointer),
            self._pointers,
            ctypes.cast(self._output, ctypes.POINTER(ctypes.c_int8)),
        )

    def add(self, sequence: int, tokens: "array[int]", position: int, *, output: bool) -> int:
        begin, count = self.struct.n_tokens, len(tokens)
        end = begin + count
        if count == 1:
            self._token[begin] = tokens[0]
            self._position[begin] = position
            self._sequence[begin] = sequence
            self._output[begin] = output
        else:
            self._token[begin:end] = tokens
            self._position[begin:end] = range(position, position + count)
            self._sequence[begin:end] = [sequence] * count
            ctypes.memset(ctypes.addressof(self._output) + begin, 0, count)
            self._output[end - 1] = output
        self.struct.n_tokens = end
        return end - 1

    def clear(self) -> None:
        self.struct.n_tokens = 0


def _progress(report: Callable[[float], None]) -> Any:
    @c.llama_progress_callback  # type: ignore[untyped-decorator]
    def receive(done: float, _data: Any) -> bool:
        report(done)
        return True

    return receive


def _model_parameters(options: Options) -> Any:
    parameters = c.llama_model_default_params()
    parameters.n_gpu_layers = options.gpu_layers
    parameters.main_gpu = options.main_gpu
    parameters.split_mode = _SPLIT[options.split_mode]
    parameters.check_tensors = options.check_tensors
    parameters.use_extra_bufts = may_repack() if options.repack == "auto" else options.repack == "on"
    if options.mmap != "auto" or options.mlock:
        parameters.load_mode = (options.mmap != "off") + 2 * options.mlock
    if options.tensor_split:
        shares = (*options.tensor_split, *[0.0] * 128)[: max(1, c.llama_max_devices())]
        parameters.tensor_split = (ctypes.c_float * len(shares))(*shares)
    return parameters


def _context_parameters(options: Options, context: int) -> Any:
    parameters = c.llama_context_default_params()
    parameters.n_ctx = options.cells_of(context)
    parameters.n_batch = min(options.batch, parameters.n_ctx)
    parameters.n_ubatch = min(options.ubatch or (512 if _on_gpu(options) else 128), parameters.n_batch)
    parameters.n_seq_max = options.sequences
    parameters.n_outputs_max = options.sequences  # one token of each is sampled; room for more is wasted memory
    parameters.n_threads = options.threads or default_threads()
    parameters.n_threads_batch = options.threads_batch or parameters.n_threads
    parameters.kv_unified = options.kv_unified
    parameters.swa_full = options.swa_full
    parameters.flash_attn_type = _flash_attention(options)
    parameters.type_k = _CACHE_TYPES[options.kv_type_k]
    parameters.type_v = _CACHE_TYPES[options.kv_type_v]
    parameters.offload_kqv = options.kv_offload
    parameters.rope_scaling_type = _ROPE[options.rope_scaling]
    parameters.rope_freq_base = options.rope_freq_base
    parameters.rope_freq_scale = options.rope_freq_scale
    parameters.yarn_ext_factor = options.yarn_ext_factor
    parameters.yarn_attn_factor = options.yarn_attn_factor
    parameters.yarn_beta_fast = options.yarn_beta_fast
    parameters.yarn_beta_slow = options.yarn_beta_slow
    parameters.yarn_orig_ctx = options.yarn_orig_ctx
    return parameters


def _on_gpu(options: Options) -> bool:
    return bool(options.gpu_layers and c.llama_supports_gpu_offload())


def _flash_attention(options: Options) -> int:
    """Measured on a CPU with 1,500 cached tokens: 27 ms a token without, 51 ms with."""
    if options.flash_attention != "auto":
        return _FLASH[options.flash_attention]
    if _on_gpu(options):
        return _FLASH["auto"]
    return _FLASH["off" if options.kv_type_v in {"f32", "f16", "bf16"} else "on"]


def _last_words() -> str:
    return "; ".join(_complaints) or "it gave no reason"


def _make(step: Step) -> Any:
    return getattr(c, f"llama_sampler_init_{step.name}")(*step.arguments)


def _logit_bias(model: Model, biases: Sequence[tuple[int, float]]) -> Any:
    array = (c.llama_logit_bias * len(biases))(*(c.llama_logit_bias(token, bias) for token, bias in biases))
    return c.llama_sampler_init_logit_bias(model.n_vocab, len(biases), array)


def _penalties(model: Model, *arguments: Any) -> Any:
    return c.llama_sampler_init_penalties(model.n_vocab, *arguments)


def _dry(model: Model, *arguments: Any) -> Any:
    *numbers, breakers = arguments
    array = (ctypes.c_char_p * max(1, len(breakers)))(*breakers)
    return c.llama_sampler_init_dry(model.vocab, *numbers, array, len(breakers))


def _mirostat(model: Model, *arguments: Any) -> Any:
    return c.llama_sampler_init_mirostat(model.n_vocab, *arguments)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "logit_bias": _logit_bias,
    "penalties": _penalties,
    "dry": _dry,
    "mirostat": _mirostat,
}
"""Samplers that need the vocabulary besides their arguments."""
