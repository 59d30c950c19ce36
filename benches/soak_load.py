"""The load of the soak: every kind of request, drawn at random, at a pace that leaves the machine something."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp

from benches import soak_access as access
from benches import soak_pictures as pictures
from benches import soak_text as text
from benches.soak_client import Client, Failed

_FAILURES = 50
"""Failures whose words are kept."""
_SHORTEST, _LONGEST = 0.02, 30.0
_STEP = 1.25

KINDS: dict[str, tuple[Callable[[Client], Awaitable[None]], int]] = {
    "chat": (text.chat, 6),
    "several": (text.several, 2),
    "completion": (text.completion, 6),
    "long_prompt": (text.long_prompt, 2),
    "json_schema": (text.json_schema, 3),
    "grammar": (text.grammar, 2),
    "tools": (text.tools, 2),
    "probabilities": (text.probabilities, 2),
    "embeddings": (text.embeddings, 3),
    "tokens": (text.tokens, 4),
    "leave_early": (text.leave_early, 3),
    "leave_late": (text.leave_late, 3),
    "mistake": (text.mistake, 1),
    "txt2img": (pictures.txt2img, 4),
    "img2img": (pictures.img2img, 3),
    "control": (pictures.control, 2),
    "enlarged": (pictures.enlarged, 1),
    "upscaled": (pictures.upscaled, 1),
    "openai_picture": (pictures.openai_picture, 2),
    "watched": (pictures.watched, 2),
    "interrupted": (pictures.interrupted, 1),
    "leave_picture": (pictures.leave_picture, 2),
    "mistaken_picture": (pictures.mistaken_picture, 1),
    "background": (access.background, 3),
    "cancelled": (access.cancelled, 2),
    "session": (access.session, 2),
    "key": (access.key, 2),
    "models": (access.models, 2),
    "look": (access.look, 4),
}
"""Every kind of request, and how often it comes compared with the others."""


class Pace:
    """How long a client rests after each request, so that the servers take about as many cores as they may."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self.pause = 0.2

    def heed(self, used: float) -> None:
        """The servers used so many cores lately."""
        factor = min(_STEP, max(1 / _STEP, used / self._cores))
        self.pause = min(_LONGEST, max(_SHORTEST, self.pause * factor))


class Load:
    """Some clients, each with one request after another; the kinds are drawn at random. It can be held."""

    def __init__(self, session: aiohttp.ClientSession, pace: Pace, seed: int = 1) -> None:
        self._session = session
        self._pace = pace
        self._chance = random.Random(seed)
        self._free = asyncio.Event()
        self._free.set()
        self._under_way = 0
        self._still = asyncio.Event()
        self._still.set()
        self.done: Counter[str] = Counter()
        """Requests that went as they should, by kind."""
        self.failed: Counter[str] = Counter()
        self.failures: list[str] = []
        """What was wrong with the first of them."""
        self.outcomes: Counter[str] = Counter()
        """Requests by how they ended."""

    async def tour(self) -> None:
        """Every kind once, one after another."""
        client = self._new_client()
        for kind in KINDS:
            await self.one(client, kind)

    @property
    def held(self) -> bool:
        """Whether no client may begin anything."""
        return not self._free.is_set()

    async def hold(self) -> None:
        """No client begins anything until `go_on`; returns when what they do has ended."""
        self._free.clear()
        await self._still.wait()

    def go_on(self) -> None:
        """After `hold`."""
        self._free.set()

    async def run(self, clients: int, until: Callable[[], bool]) -> None:
        """Many at once, until it is time; the last requests are waited for."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(until))

    def _new_client(self) -> Client:
        return Client(self._session, random.Random(self._chance.random()), self.outcomes)

    async def _client(self, until: Callable[[], bool]) -> None:
        client = self._new_client()
        kinds, weights = list(KINDS), [weight for _, weight in KINDS.values()]
        while not until():
            await self._free.wait()
            if until():
                return
            self._under_way += 1
            self._still.clear()
            await self.one(client, client.chance.choices(kinds, weights)[0])
            self._under_way -= 1
            if not self._under_way:
                self._still.set()
            await asyncio.sleep(self._pace.pause * client.chance.uniform(0.5, 1.5))

    async def one(self, client: Client, kind: str) -> None:
        """One request of a kind, counted."""
        try:
            await KINDS[kind][0](client)
        except (Failed, aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self.failed[kind] += 1
            self.outcomes["failed"] += 1
            said = f"{kind}: {type(error).__name__}: {error}"
            print(f"FAILED: {said}", file=sys.stderr)
            if len(self.failures) < _FAILURES:
                self.failures.append(said)
        else:
            self.done[kind] += 1
