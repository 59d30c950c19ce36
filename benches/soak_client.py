"""A client of the soak: sends one request after another, and counts how each of them ended."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import Any

import aiohttp


class Failed(Exception):
    """The server answered what it should not."""


class Client:
    """Sends one request at a time, as text or as a stream."""

    def __init__(self, session: aiohttp.ClientSession, chance: random.Random, outcomes: Counter[str]) -> None:
        self.session = session
        self.chance = chance
        self.outcomes = outcomes
        """Requests by how they ended: answered, left, cancelled, refused as they should be."""

    async def send(
        self, method: str, path: str, body: Any = None, *, expected: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        """The decoded answer.

        Raises:
            Failed: another status than the expected one.
        """
        async with self.session.request(method, path, json=body, headers=headers) as answer:
            await self._check(answer, expected)
            self.outcomes["refused" if expected >= 400 else "answered"] += 1
            raw = await answer.read()
            return json.loads(raw) if raw else None

    async def post(self, path: str, body: Any, expected: int = 200) -> Any:
        """The decoded answer to a POST, as `send`."""
        return await self.send("POST", path, body, expected=expected)

    async def get(self, path: str) -> Any:
        """The decoded answer to a GET, as `send`."""
        return await self.send("GET", path)

    async def stream(self, path: str, body: dict[str, Any], events: int | None = None) -> list[Any]:
        """The events of a stream; hangs up after `events` of them, if there are as many.

        Raises:
            Failed: it ends with an error, or without an end.
        """
        found = []
        async with self.session.post(path, json=body | {"stream": True}) as answer:
            await self._check(answer, 200)
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found.append(_event(line[6:].strip()))
                    if events is not None and len(found) >= events:
                        self.outcomes["left"] += 1
                        return found
        last = found[-1] if found else {}
        if last is not None and not (last.get("stop") or str(last.get("type", "")).endswith("completed")):
            raise Failed(f"{path}: the stream has no end: {str(last)[:300]}")
        self.outcomes["answered"] += 1
        return found

    async def follow(self, path: str) -> str:
        """Reads the events of a background job until they end; the name of the last one."""
        name = ""
        async with self.session.get(path) as answer:
            await self._check(answer, 200)
            async for line in answer.content:
                if line.startswith(b"event: "):
                    name = line[7:].strip().decode()
        self.outcomes["answered"] += 1
        return name

    async def leave(self, path: str, body: dict[str, Any], seconds: float) -> None:
        """Asks and hangs up after some seconds, whatever has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stream(path, body)
                return
        self.outcomes["left"] += 1

    async def _check(self, answer: aiohttp.ClientResponse, expected: int) -> None:
        if answer.status != expected:
            said = (await answer.text())[:300]
            raise Failed(f"{answer.url.path}: status {answer.status} instead of {expected}: {said}")


def _event(data: bytes) -> Any:
    """An event's object; None for the end mark."""
    if data == b"[DONE]":
        return None
    event = json.loads(data)
    if "error" in event:
        raise Failed(f"the stream ends with {event['error']}")
    return event
