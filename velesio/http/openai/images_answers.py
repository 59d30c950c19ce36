"""Answers of OpenAI's images API: pictures in base64, whole or as events with previews before them."""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

from velesio.http import sse
from velesio.http.openai import answers
from velesio.http.openai.images_requests import Asked
from velesio.http.wire import encode
from velesio.jobs import Completed, Event, ImageResult, Preview, born, new_id

_QUALITY = {"auto": "medium", "standard": "medium", "hd": "high"}
"""The words of an answer for those of a request."""


def write(asked: Asked, _model: str, job_id: str, results: Sequence[ImageResult]) -> dict[str, Any]:
    """The answer without streaming."""
    (result,) = results
    answer = {
        "created": int(born(job_id or new_id())),
        "data": [_entry(result, index) for index in range(len(result.pictures))],
        **_said(asked, _size(result) or asked.size),
        "usage": _usage(result.prompt_tokens),
    }
    notes = [*_notes(asked), *result.notes]
    return answer | {"notes": notes} if notes else answer


def _notes(asked: Asked) -> list[str]:
    if asked.given == 1:
        return []
    return [f"each of the {asked.given} pictures was changed by itself: no model here makes one picture of several"]


def _entry(result: ImageResult, index: int) -> dict[str, Any]:
    seed = {"seed": result.seeds[index]} if index < len(result.seeds) else {}
    return {"b64_json": _base64(result.pictures[index]), **seed}


def _said(asked: Asked, size: str) -> dict[str, Any]:
    quality = _QUALITY.get(asked.quality, asked.quality)
    return {"background": "opaque", "output_format": asked.format, "quality": quality, "size": size}


def _size(result: ImageResult) -> str:
    return f"{result.width}x{result.height}" if result.width else ""


def _usage(tokens: int) -> dict[str, Any]:
    """Of the prompt; pictures, given and made, are not counted in tokens."""
    return {
        "input_tokens": tokens,
        "output_tokens": 0,
        "total_tokens": tokens,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
    }


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


class Frames(answers.Frames):
    """The stream: each picture's previews, and all pictures when they are done. The prompt's tokens count with the
    first."""

    def __init__(self, asked: Asked, _model: str, job_id: str = "") -> None:
        self._asked = asked
        self._created = int(born(job_id or new_id()))
        self._shown: Counter[int] = Counter()

    def frames(self, _: int, event: Event) -> list[bytes]:
        """A preview, or the pictures."""
        if isinstance(event, Preview):
            return self._preview(event)
        if isinstance(event, Completed) and isinstance(event.result, ImageResult):
            result = event.result
            return [self._completed(result, index) for index in range(len(result.pictures))]
        return []

    def _preview(self, event: Preview) -> list[bytes]:
        shown = self._shown[event.index]
        if shown >= self._asked.partial_images or event.done >= event.total:
            return []
        self._shown[event.index] += 1
        said = {
            "b64_json": _base64(event.picture),
            "partial_image_index": shown,
            "index": event.index,
            **_said(self._asked, self._asked.size),
        }
        return [self._event("partial_image", said)]

    def _completed(self, result: ImageResult, index: int) -> bytes:
        said = {
            **_entry(result, index),
            "index": index,
            **_said(self._asked, _size(result) or self._asked.size),
            "usage": _usage(0 if index else result.prompt_tokens),
        }
        return self._event("completed", said)

    def _event(self, what: str, said: dict[str, Any]) -> bytes:
        name = f"{self._asked.kind}.{what}"
        return b"event: %b\n%b" % (
            name.encode(),
            sse.event(encode({"type": name, "created_at": self._created, **said})),
        )

    def end(self) -> list[bytes]:
        """Nothing but the mark."""
        return [sse.DONE]
