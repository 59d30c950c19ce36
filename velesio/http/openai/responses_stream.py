"""The stream of OpenAI's responses API: named events, item by item, numbered for clients that put them together."""

from collections.abc import Iterable, Sequence
from typing import Any

from velesio.dialects import Said
from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.families import OPENAI
from velesio.http.openai.responses_answers import Call, Item, Message, Writer, item_of, usage_of
from velesio.http.text.usage import timings_of
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Dialect, Event, Started, TextResult, TokenProbs


class Frames:
    """The events of one response."""

    one_by_one = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._speech = writer.hearing.streamed(Dialect(), 0)
        self._item: Item | None = None
        self._items: list[dict[str, Any]] = []
        self._probs: list[TokenProbs] = []
        """Of tokens that no event has told yet."""
        self._number = 0

    def frames(self, _: int, event: Event) -> list[bytes]:
        """The events for an event."""
        if isinstance(event, Started):
            self._speech = self._writer.hearing.streamed(event.dialect, 0)
            return [self._lifecycle("response.created"), self._lifecycle("response.in_progress")]
        if type(event) is Delta:
            self._probs.extend(event.probs)
            return self._pieces(self._speech.feed(event.text))
        if isinstance(event, Completed) and isinstance(event.result, TextResult):
            return self._end(event.result)
        return []

    def _lifecycle(self, kind: str) -> bytes:
        writer = self._writer
        response = {
            "id": writer.id,
            "object": "response",
            "status": "in_progress",
            "created_at": writer.created,
            "model": writer.model,
            "output": [],
            **writer.repeated(),
        }
        return self._event(kind, response=response)

    def _pieces(self, said: Iterable[Said]) -> list[bytes]:
        frames: list[bytes] = []
        for each in said:
            if self._item is None or not self._item.takes(each):
                frames += self._close()
                frames += self._open(each)
            frames += self._piece(each)
        return frames

    def _open(self, said: Said) -> list[bytes]:
        self._item = item = item_of(said, self._writer.job_id, len(self._items))
        frames = [self._event("response.output_item.added", item=item.begun(), output_index=item.index)]
        if isinstance(item, Message):
            frames.append(self._of_part("response.content_part.added", part={"type": "output_text", "text": ""}))
        return frames

    def _piece(self, said: Said) -> list[bytes]:
        item = self._item
        if item is None or not said.text:
            return []
        item.add(said)
        if isinstance(item, Call):
            return [self._of_item("response.function_call_arguments.delta", delta=said.text)]
        if isinstance(item, Message):
            logprobs = self._news()
            item.logprobs += logprobs
            return [self._of_part("response.output_text.delta", delta=said.text, logprobs=logprobs)]
        return [self._of_part("response.reasoning_text.delta", delta=said.text)]

    def _news(self) -> list[dict[str, Any]]:
        """The probabilities of tokens since the last event."""
        probs, self._probs = self._probs, []
        return self._writer.logprobs(probs)

    def _close(self) -> list[bytes]:
        item = self._item
        if item is None:
            return []
        frames, done = self._ends(item)
        self._items.append(done)
        frames.append(self._event("response.output_item.done", item=done, output_index=item.index))
        self._item = None
        return frames

    def _ends(self, item: Item) -> tuple[list[bytes], dict[str, Any]]:
        """The events that end an item's text, and the item."""
        if isinstance(item, Message):
            frames = [
                self._of_part("response.output_text.done", text=item.text, logprobs=item.logprobs),
                self._of_part("response.content_part.done", part=item.part()),
            ]
            return frames, _streamed(item.done())
        if isinstance(item, Call):
            done = self._of_item("response.function_call_arguments.done", name=item.name, arguments=item.text)
            return [done], item.done()
        return [self._of_part("response.reasoning_text.done", text=item.text)], item.done()

    def _end(self, result: TextResult) -> list[bytes]:
        frames = self._pieces(self._speech.end())
        if self._item is None and not self._items:
            frames += self._open(Said("content"))
        if self._item is not None:
            self._item.logprobs += self._news()
        frames += self._close()
        writer = self._writer
        response = {
            "id": writer.id,
            "object": "response",
            "created_at": writer.created,
            "status": "completed",
            "model": writer.model,
            "output": self._items,
            "usage": usage_of(result, self._items),
            **writer.repeated(result),
        }
        timings = timings_of(result.usage, result.timings)
        return [*frames, self._event("response.completed", response=response, timings=timings)]

    def _of_item(self, kind: str, **fields: Any) -> bytes:
        item = self._item
        assert item is not None  # noqa: S101 - only of an open item
        return self._event(kind, item_id=item.id, **fields, output_index=item.index)

    def _of_part(self, kind: str, **fields: Any) -> bytes:
        return self._of_item(kind, **fields, content_index=0)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = encode({"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        return b"event: %b\n%b" % (kind.encode(), sse.event(data))

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as an event, at which the SDKs raise."""
        body = OPENAI.body(error)["error"]
        told = {name: body[name] for name in ("code", "message", "param")}
        return [self._event("error", **told, error=body)]

    def end(self) -> Sequence[bytes]:
        """Nothing; the last event says that it is the last."""
        return []


def _streamed(message: dict[str, Any]) -> dict[str, Any]:
    """A message as the end of a stream has it: the same in another order."""
    return {name: message[name] for name in ("type", "status", "id", "content", "role")}
