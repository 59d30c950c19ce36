"""Recall: how far the earlier attempts of a job got, as its reader knows it, so that a worker can go on from there.

The question goes through the same stream as the answers of the earlier attempts. Whoever reads that stream fences
those attempts off when it meets the question, so what it answers is final, whatever a worker believed dead still
writes.
"""

import asyncio
from collections.abc import Callable

from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.line import OUTAGES
from velesio.queue.playback import Playback

_PATIENCE = 2.0
_answer: Callable[[bytes], tuple[int, ...] | None] = wire.reader(tuple[int, ...] | None)


class CannotContinue(Exception):
    """The reader has text whose tokens nobody knows, or the log has lost its beginning."""


class NoAnswer(Exception):
    """The gateway lives but did not answer in time."""


async def recall(broker: Broker, job_id: str, gateway: str, attempt: int) -> tuple[int, ...]:
    """The tokens that the reader of a job has; `attempt` goes on after them.

    Raises:
        CannotContinue, NoAnswer, BrokerUnavailable
    """
    question = wire.message([wire.encode(wire.Note(job_id, attempt, -1, wire.Recall()))])
    if gateway:
        return await _ask(broker, job_id, gateway, attempt, question)
    return await _read_log(broker, job_id, attempt, question)


async def _ask(broker: Broker, job_id: str, gateway: str, attempt: int, question: bytes) -> tuple[int, ...]:
    if not await broker.command("XADD", broker.keys.replies(gateway), "NOMKSTREAM", "*", "b", question):
        return ()  # the gateway is long gone, and its clients with it
    line = broker.address.blocking(_PATIENCE)
    try:
        found = await line.ask("BLPOP", broker.keys.sent(job_id, attempt), _PATIENCE)
    except OUTAGES as error:
        raise NoAnswer from error
    finally:
        await line.close()
    if not found:
        # Its sign of life alone proves nothing: after an outage of the broker it is the last thing to come back.
        if await broker.command("EXISTS", broker.keys.gateway(gateway)):
            raise NoAnswer
        return ()
    sent: tuple[int, ...] | None = _answer(found[1])
    if sent is None:
        raise CannotContinue
    return sent


async def _read_log(broker: Broker, job_id: str, attempt: int, question: bytes) -> tuple[int, ...]:
    key, settings = broker.keys.output(job_id), broker.settings
    _, _, entries = await asyncio.gather(
        broker.command("XADD", key, "MAXLEN", "~", settings.output_length, "*", "b", question),
        broker.command("PEXPIRE", key, round(settings.result_ttl * 1000)),
        broker.command("XRANGE", key, "-", "+"),
    )
    playback = Playback()
    sent: tuple[int, ...] | None = None
    for note in (note for _, fields in entries for note in wire.read_message(fields[1])):
        if isinstance(note.event, wire.Recall) and note.attempt == attempt and sent is None:
            sent = playback.recall(attempt)  # asked twice, after a lost connection, the first one fenced
        else:
            playback.read(note)
    if sent is None:
        raise CannotContinue
    return sent
