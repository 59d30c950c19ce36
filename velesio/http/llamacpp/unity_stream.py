"""LLMUnity's streams, such as its readers can read.

The native reader takes each HTTP chunk for one event, whole and small; a client that got anything else sends its
request again and shows the text twice. So these streams are compact: below `LIMIT` bytes an event, without the settings
and the prompt at the end, and, where something between may join what is sent together, with a pause between them.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.clients import client_of, may_merge
from velesio.http.dispatch import Numbered
from velesio.http.wire import encode
from velesio.jobs import Delta, Event

LIMIT = 4000
"""Bytes of an event at most: cpp-httplib hands on 4,096 at a time, of which 6 are the mark of the chunk."""

PAUSE = 0.1
"""Seconds between two events where they may merge: ten a second still read as a flow, and a proxy on a machine with
five times the work that it can do reads each alone, which it did not with 0.04."""

_HEAD = b"data: "
_SPARE = ("generation_settings", "prompt")
"""What no game reads, and what makes the last event too large."""
_RATHER_NOT = ("completion_probabilities", "timings", "tokens", "stopping_word")
"""What an event does without if it is still too large, in this order."""
_MERGED_TEXT = 1000
"""Characters of text that are joined to one event at most."""


def framing_for(request: web.Request, framing: sse.Framing[Event]) -> sse.Framing[Event]:
    """`framing`, which writes llama.cpp's events, as the client of `request` can read it."""
    return Compact(framing) if client_of(request.headers).is_unity else framing


def answers_for(request: web.Request, answers: AsyncIterable[Sequence[Numbered]]) -> AsyncIterable[Sequence[Numbered]]:
    """`answers`, of which texts that come together are one, where the client of `request` gets them with pauses."""
    return _joined(answers) if pause_for(request) else answers


def pause_for(request: web.Request) -> float:
    """Seconds between two events for the client of `request`; 0: none are needed."""
    headers = request.headers
    apart = client_of(headers).is_unity and may_merge(headers, old=request.version < HttpVersion11)
    return PAUSE if apart else 0.0


async def _joined(answers: AsyncIterable[Sequence[Numbered]]) -> AsyncIterator[Sequence[Numbered]]:
    async for batch in answers:
        yield merged(batch)


def merged(batch: Sequence[Numbered]) -> list[Numbered]:
    """A batch in which neighbouring texts of one job are joined, as far as they make one small event."""
    joined: list[Numbered] = []
    for index, event in batch:
        if isinstance(event, Delta) and joined and joined[-1][0] == index:
            last = joined[-1][1]
            if isinstance(last, Delta) and len(last.text) + len(event.text) <= _MERGED_TEXT:
                joined[-1] = index, _sum(last, event)
                continue
        joined.append((index, event))
    return joined


def _sum(one: Delta, two: Delta) -> Delta:
    return Delta(one.text + two.text, one.tokens + two.tokens, two.predicted, one.probs + two.probs)


class Compact:
    """A stream of llama.cpp's events, each below `LIMIT` bytes."""

    one_by_one = True

    def __init__(self, framing: sse.Framing[Event]) -> None:
        self._framing = framing

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The events for an event: as many as its text needs."""
        return [small for frame in self._framing.frames(index, event) for small in fitted(frame)]

    def ping(self) -> bytes:
        """An event without content; comments would break the reader."""
        return self._framing.ping()

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as an event, its message no longer than fits."""
        return [small for frame in self._framing.failure(error) for small in fitted(frame)]

    def end(self) -> Sequence[bytes]:
        """Nothing that is no event."""
        return self._framing.end()


def fitted(frame: bytes) -> list[bytes]:
    """An event of `/completion` as one or several below `LIMIT` bytes, without settings and prompt."""
    if len(frame) < LIMIT and b'"generation_settings":' not in frame:
        return [frame]
    said = msgspec.json.decode(frame.removeprefix(_HEAD))
    for name in _SPARE:
        said.pop(name, None)
    return list(_split(said))


def _split(said: dict[str, Any]) -> Iterator[bytes]:
    frame = sse.event(encode(said))
    if len(frame) < LIMIT:
        yield frame
    elif said.get("stop") is False and len(said["content"]) > 1:
        first, second = _halves(said)
        yield from _split(first)
        yield from _split(second)
    elif spare := next((name for name in _RATHER_NOT if said.get(name)), None):
        yield from _split({name: value for name, value in said.items() if name != spare})
    elif isinstance(error := said.get("error"), dict) and len(message := error["message"]) > 1:
        yield from _split({"error": error | {"message": message[: len(message) // 2]}})
    else:
        yield frame


def _halves(said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One event as two; the tokens come with the second, as those of text that was held back do."""
    text = said["content"]
    middle = len(text) // 2
    first = {name: value for name, value in said.items() if name not in {"timings", "completion_probabilities"}}
    return first | {"content": text[:middle], "tokens": []}, said | {"content": text[middle:]}
