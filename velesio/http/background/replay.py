"""Replay: a background job's log as server-sent events, from any of its ids on."""

import base64
from typing import Any

from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.dispatch import error_of
from velesio.http.families import OPENAI
from velesio.http.forms import answer_of
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Failed, Final, Preview, Progress, Started
from velesio.queue.client import JobRecord
from velesio.queue.outputs import Restarted, Said


class Frames:
    """Server-sent events with a name and an id each; `data` is JSON. The last one is `completed`, whose data is what
    `/result` gives, `failed` or `cancelled`."""

    one_by_one = False

    def __init__(self, record: JobRecord, kept: bytes) -> None:
        """`kept` is the job's origin."""
        self._record = record
        self._kept = kept

    def frames(self, _: int, said: Said) -> list[bytes]:
        """One event."""
        name, data = self._told(said)
        place = b"id: %d\n" % said.id if said.id else b""
        return [b"%bevent: %b\n%b" % (place, name.encode(), sse.event(encode(data)))]

    def _told(self, said: Said) -> tuple[str, Any]:
        event = said.event
        if isinstance(event, Delta):
            return "delta", {"text": event.text}
        if isinstance(event, Started):
            return "started", {"prompt_tokens": event.prompt_tokens}
        if isinstance(event, Progress):
            return "progress", {"done": event.done, "total": event.total}
        if isinstance(event, Preview):
            picture = base64.b64encode(event.picture).decode("ascii")
            return "preview", {"index": event.index, "done": event.done, "total": event.total, "b64_json": picture}
        if isinstance(event, Restarted):
            return "restarted", {"reason": "the job began anew; what was said before is void"}
        return self._end(event)

    def _end(self, final: Final) -> tuple[str, Any]:
        if isinstance(final, Completed):
            return "completed", answer_of(self._kept, self._record, final) or {}
        return "failed" if isinstance(final, Failed) else "cancelled", OPENAI.body(error_of(final))

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """An event without an id: it is of the connection, not of the job, which can be followed elsewhere."""
        return [b"event: error\n" + sse.event(encode(OPENAI.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing; the last event says that it is the last."""
        return []
