"""Clients that know what they must get: they ask the echo model, and keep a tally of what they got."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp

ACCEPTED = "X-Velesio-Job-Id"
_WORDS = (
    "amber",
    "basil",
    "cedar",
    "delta",
    "ember",
    "flint",
    "grove",
    "heron",
    "islet",
    "jade",
    "kelp",
    "lotus",
    "maple",
)
_PATIENCE = aiohttp.ClientTimeout(total=180)


class Ask(NamedTuple):
    """One request and what must come of it."""

    kind: str
    prompt: str
    text: str
    """What the answer must be, or begin with before it ends in `error`."""
    tokens: int
    error: str = ""
    leave_after: int = 0
    """Events after which the client hangs up; 0: never."""


class Tally:
    """What happened to the requests."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.asked: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Requests refused before a job was accepted, which the clients made again, by code."""
        self.wrong: list[str] = []
        self.lost = 0
        self.duplicated = 0
        self.jobs: dict[str, Ask] = {}
        """Accepted jobs by id."""
        self.unlucky = 0
        """Crashes of a job that does no harm itself, the most."""
        self.longest = 0.0
        """Seconds without a word in a stream, the longest."""

    def judge(self, ask: Ask, job_id: str, text: str, error: str) -> None:
        """Compare an answer with what it must be."""
        self.ended[ask.kind] += 1
        if text == ask.text and error == ask.error:
            return
        if ask.text.startswith(text):
            self.lost += 1
        else:
            self.duplicated += 1
        when = time.monotonic() - self.began
        self.wrong.append(
            f"{when:.2f} {job_id} {ask.kind}: {text!r} and error {error!r} instead of {ask.text!r} and {ask.error!r}"
        )


class Clients:
    """A number of clients that ask one question after another of changing gateways until they are told to stop."""

    def __init__(self, urls: list[str], seed: int, *, longest: int = 80) -> None:
        """`longest` is the greatest number of words in an answer."""
        self.tally = Tally()
        self._urls = itertools.cycle(urls)
        self._dice = random.Random(seed)
        self._longest = longest
        self._number = itertools.count()
        self._stopping = False
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(count)]

    def poison(self, crashes: bool = True) -> None:
        """One more question, which kills every worker that answers it (or, without `crashes`, fails each attempt)."""
        self._tasks.append(asyncio.create_task(self.put(self.question("toxic" if crashes else "retry"))))

    async def stop(self, within: float) -> int:
        """Ask nothing more and wait for the answers under way; how many did not come in time."""
        self._stopping = True
        _, late = await asyncio.wait(self._tasks, timeout=within)
        for task in late:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.tally.wrong += [repr(error) for error in ended if isinstance(error, Exception)]
        return len(late)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask_on(self) -> None:
        kinds = ("stream", "stream", "stream", "chat", "plain", "plain", "leave", "fail")
        while not self._stopping:
            await self.put(self.question(self._dice.choice(kinds)))

    def question(self, kind: str) -> Ask:
        """A question whose answer no other question has."""
        words = [str(next(self._number)), *self._dice.choices(_WORDS, k=self._dice.randint(3, 12))]
        count = self._dice.randint(1, self._longest)
        prompt = f"[[tokens {count}]] {' '.join(words)}"
        whole = [word for word, _ in zip(itertools.cycle(words), range(count), strict=False)]
        if kind in {"toxic", "retry", "fail"}:
            after = self._dice.randint(0, count - 1)
            switch = {"toxic": "crash", "retry": "retry", "fail": "fail"}[kind]
            error = "worker_lost" if kind == "toxic" else "job_failed"
            return Ask(kind, f"[[after {after} {switch}]] {prompt}", " ".join(whole[:after]), after, error)
        leave = self._dice.randint(1, 5) if kind == "leave" else 0
        return Ask(kind, prompt, " ".join(whole), count, leave_after=leave)

    async def put(self, ask: Ask) -> None:
        """Ask until a job is accepted, then hear its answer once."""
        self.tally.asked[ask.kind] += 1
        while True:
            code = await self._try(ask)
            if not code:
                return
            self.tally.refused[code] += 1
            await asyncio.sleep(self._dice.uniform(0.1, 0.5))

    async def _try(self, ask: Ask) -> str:
        """Why no job was accepted; empty if one was, whatever became of it."""
        assert self._session is not None
        url = next(self._urls)
        chat = ask.kind == "chat" or bool(ask.error)
        stream = ask.kind != "plain"
        body: dict[str, Any] = {"stream": stream, "max_tokens" if chat else "n_predict": -1}
        body |= {"messages": [{"role": "user", "content": ask.prompt}]} if chat else {"prompt": ask.prompt}
        path = "/v1/chat/completions" if chat else "/completion"
        try:
            answer = await self._session.post(f"{url}{path}", json=body, timeout=_PATIENCE)
        except aiohttp.ClientConnectorError:
            return "connection refused"
        async with answer:
            job_id = answer.headers.get(ACCEPTED, "")
            if answer.status == 503 and not job_id:
                return await self._refusal(answer)
            self.tally.jobs[job_id] = ask
            if answer.status != 200:
                # Failed before anything was sent: a status of its own says so better than a stream.
                text = ask.text if ask.error else ""
                self.tally.judge(ask, job_id, text, _code_in(await answer.json()))
            elif not stream:
                self.tally.judge(ask, job_id, (await answer.json())["content"], "")
            else:
                await self._listen(ask, job_id, answer)
        return ""

    async def _refusal(self, answer: aiohttp.ClientResponse) -> str:
        if not answer.headers.get("Retry-After", "").isdigit():
            self.tally.wrong.append(f"a 503 without Retry-After: {await answer.text()}")
        return _code_in(await answer.json())

    async def _listen(self, ask: Ask, job_id: str, answer: aiohttp.ClientResponse) -> None:
        text, error, ends, events = "", "", 0, 0
        loop = asyncio.get_running_loop()
        heard = loop.time()
        async for event in _events(answer):
            if not ask.error:
                self.tally.longest = max(self.tally.longest, loop.time() - heard)
            heard = loop.time()
            events += 1
            if ends:
                self.tally.wrong.append(f"{job_id}: {event} after the end")
            if "error" in event:
                error, ends = _code_in(event), ends + 1
            elif "choices" in event:
                choice = event["choices"][0]
                text += choice["delta"].get("content") or ""
                ends += choice["finish_reason"] is not None
            else:
                text += event["content"]
                ends += event["stop"]
            if events == ask.leave_after and not ends:
                self.tally.ended["leave"] += 1
                if not ask.text.startswith(text):
                    self.tally.duplicated += 1
                return
        if ends != 1:
            self.tally.wrong.append(f"{job_id}: {ends} ends")
        self.tally.judge(ask, job_id, text, error)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            yield json.loads(line[6:])


def _code_in(body: dict[str, Any]) -> str:
    """The error's public code where the API family has one, else its type."""
    error = body["error"]
    return str(error["code"] if isinstance(error["code"], str) else error["type"])
