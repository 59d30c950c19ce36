"""A projector turns pictures and sounds into what stands for tokens in a prompt. llama.cpp's `mtmd`.

A file becomes a few chunks: tokens that open and close it, and *pictures*, each of which is computed whole. In a
sequence a picture holds its positions by tokens that do not exist, so that nothing is ever taken for them.
"""

import ctypes
import hashlib
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c
from llama_cpp import mtmd_cpp as m

from velesio.backends.llama.binding.computation import NO_ROOM, OK
from velesio.backends.llama.binding.context import Context
from velesio.backends.llama.binding.log import last_words, receive_log
from velesio.backends.llama.binding.model import Model
from velesio.backends.llama.media import MARKER
from velesio.backends.llama.options import Options, default_threads
from velesio.errors import BadRequest, JobFailed, ModelLoadFailed, Unsupported
from velesio.pictures.pixels import pixels_of

NOTHING = -1
"""What a picture's positions hold in a sequence's tokens."""
_KEPT = 64 << 20
"""Bytes of pictures that were encoded lately, as they often come again with the next turn of a chat."""
_TEXT = 0
_SAMPLE = 4
"""Bytes."""

m.mtmd_log_set(receive_log, None)
m.mtmd_helper_log_set(receive_log, None)


class Picture(NamedTuple):
    """A piece of a picture or sound that is computed at once."""

    begin: int
    """Its first position in the prompt."""
    positions: int
    tokens: int
    """Cells that it takes: more than positions where the model has several dimensions of them."""
    key: tuple[bytes, int]
    """Equal for the same piece of the same file."""
    chunk: int
    """mtmd's own handle, which lives as long as `owner`."""
    owner: object

    @property
    def end(self) -> int:
        """The position after it."""
        return self.begin + self.positions


class Illustrated(NamedTuple):
    """A prompt with pictures."""

    tokens: list[int]
    pictures: tuple[Picture, ...]


class Projector:
    """A model's eyes and ears."""

    def __init__(self, model: Model, path: Path, options: Options) -> None:
        """Loads the file at `path`.

        Raises:
            ModelLoadFailed: it does not belong to the model, or is none.
        """
        parameters = m.mtmd_context_params_default()
        parameters.use_gpu = bool(options.gpu_layers and c.llama_supports_gpu_offload())
        parameters.print_timings = False
        parameters.warmup = False
        parameters.n_threads = options.threads_batch or options.threads or default_threads()
        parameters.media_marker = MARKER.encode()
        self._model = model
        self._options = options
        self._context = m.mtmd_init_from_file(os.fsencode(path), model.handle, parameters)
        if not self._context:
            raise ModelLoadFailed(f"llama.cpp cannot load the projector {path}: {last_words()}")
        self.senses: Mapping[str, bool] = {
            "vision": bool(m.mtmd_support_vision(self._context)),
            "audio": bool(m.mtmd_support_audio(self._context)),
        }
        self._width = int(c.llama_model_n_embd_inp(model.handle))
        self._encoded: OrderedDict[tuple[bytes, int], npt.NDArray[np.float32]] = OrderedDict()

    def illustrated(self, parts: Sequence[list[int] | bytes], *, ubatch: int) -> Illustrated:
        """Tokens and files, in the order of the prompt, as one prompt. `ubatch`: what is computed at once.

        Raises:
            BadRequest: a file cannot be read, or is too large.
            Unsupported: the model has no sense for it.
        """
        tokens: list[int] = []
        pictures: list[Picture] = []
        for part in parts:
            if isinstance(part, list):
                tokens += part
                continue
            for chunk in self._chunks(part, len(tokens), ubatch):
                if isinstance(chunk, Picture):
                    pictures.append(chunk)
                    tokens += [NOTHING] * chunk.positions
                else:
                    tokens += chunk
        return Illustrated(tokens, tuple(pictures))

    def show(self, context: Context, picture: Picture, sequence: int) -> bool:
        """Computes a picture at its place in a sequence. False: there are not enough free cells, and nothing changed.

        Raises:
            JobFailed: it cannot be computed.
        """
        embedded = self._embedded(picture)
        reached = c.llama_pos(0)
        status = m.mtmd_helper_decode_image_chunk(
            self._context,
            context.handle,
            picture.chunk,
            embedded.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            picture.begin,
            sequence,
            context.n_batch,
            ctypes.byref(reached),
            m.mtmd_helper_post_decode_callback(),
            None,
        )
        if status == OK:
            return True
        context.remove(sequence, picture.begin)
        if status == NO_ROOM:
            return False
        raise JobFailed(f"llama.cpp could not compute a picture ({status}): {last_words()}")

    def close(self) -> None:
        """Frees the projector."""
        self._encoded.clear()
        if self._context:
            m.mtmd_free(self._context)
            self._context = None

    def _embedded(self, picture: Picture) -> npt.NDArray[np.float32]:
        """What stands for the picture's tokens, one row for each."""
        known = self._encoded.get(picture.key)
        if known is not None:
            self._encoded.move_to_end(picture.key)
            return known
        if m.mtmd_encode_chunk(self._context, picture.chunk):
            raise JobFailed(f"llama.cpp could not encode a picture: {last_words()}")
        values = m.mtmd_get_output_embd(self._context)
        rows = np.ctypeslib.as_array(values, shape=(picture.tokens, self._width)).copy()
        self._encoded[picture.key] = rows
        while sum(each.nbytes for each in self._encoded.values()) > _KEPT and len(self._encoded) > 1:
            self._encoded.popitem(last=False)
        return rows

    def _chunks(self, data: bytes, begin: int, ubatch: int) -> Iterator[list[int] | Picture]:
        chunks = _Chunks(self._context, self._bitmap(data))
        digest = hashlib.blake2b(data, digest_size=16).digest()
        for number, chunk in enumerate(chunks):
            if m.mtmd_input_chunk_get_type(chunk) == _TEXT:
                count = ctypes.c_size_t()
                found = m.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                yield found[: count.value]
                begin += count.value
                continue
            tokens, positions = m.mtmd_input_chunk_get_n_tokens(chunk), m.mtmd_input_chunk_get_n_pos(chunk)
            if tokens > ubatch and m.mtmd_decode_use_non_causal(self._context, chunk):
                raise Unsupported(f"this model sees {tokens} tokens of a picture at once; give it ubatch = {tokens}")
            yield Picture(begin, positions, tokens, (digest, number), chunk, chunks)
            begin += positions

    def _bitmap(self, data: bytes) -> "_Bitmap":
        """The file, decoded."""
        if (pixels := pixels_of(data)) is not None:
            if not self.senses["vision"]:
                raise Unsupported("this model cannot see pictures")
            if not 0 < pixels <= self._options.media_pixels:
                most = self._options.media_pixels
                raise BadRequest(f"a picture has {pixels} pixels; 1 to {most} are accepted (option media_pixels)")
        elif not self.senses["audio"]:
            raise BadRequest("a file is no picture that can be read here: send PNG, JPEG, GIF or BMP")
        bitmap = _Bitmap(self._context, data)
        rate = m.mtmd_get_audio_sample_rate(self._context)
        if bitmap.is_sound and bitmap.size > self._options.media_seconds * rate * _SAMPLE:
            raise BadRequest(f"a sound is longer than {self._options.media_seconds:g} seconds (option media_seconds)")
        return bitmap


class _Bitmap:
    """A decoded file."""

    def __init__(self, context: Any, data: bytes) -> None:
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        self.handle = m.mtmd_helper_bitmap_init_from_buf(context, buffer, len(data), False)
        if not self.handle:
            raise BadRequest(f"a picture or sound cannot be read: {last_words()}")
        weakref.finalize(self, m.mtmd_bitmap_free, self.handle)

    @property
    def is_sound(self) -> bool:
        return bool(m.mtmd_bitmap_is_audio(self.handle))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(m.mtmd_bitmap_get_n_bytes(self.handle))


class _Chunks:
    """What a file becomes for this model, and all that it refers to."""

    def __init__(self, context: Any, bitmap: _Bitmap) -> None:
        self._handle = m.mtmd_input_chunks_init()
        weakref.finalize(self, m.mtmd_input_chunks_free, self._handle)
        marker = MARKER.encode()
        text = m.mtmd_input_text(marker, len(marker), False, True)
        files = (m.mtmd_bitmap_p_ctypes * 1)(bitmap.handle)
        if m.mtmd_tokenize(context, self._handle, ctypes.byref(text), files, 1):
            raise BadRequest(f"a picture or sound cannot be prepared: {last_words()}")

    def __iter__(self) -> Iterator[int]:
        for index in range(m.mtmd_input_chunks_size(self._handle)):
            yield m.mtmd_input_chunks_get(self._handle, index)
