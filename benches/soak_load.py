"""The load of the soak: every kind of request that a text model takes, some of them broken off, some of them wrong."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from benches.text_scenarios import words

MODEL = "smollm2"
_SYSTEM = "You are a helpful assistant in a small shop." + words("soak", 200)
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer"},
        "open": {"type": "boolean"},
    },
    "required": ["name", "age", "open"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "open_door",
        "description": "Opens a door.",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["number"],
        },
    },
}
_HASTE = 0.25
"""Seconds after which the impatient hang up, at most."""


class NotThere(Exception):
    """The server answered 501: it cannot do this yet."""


class Failed(Exception):
    """The server answered what it should not."""


class Client:
    """Sends one request at a time, as text or as a stream."""

    def __init__(self, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self._session = session
        self.chance = chance

    async def post(self, path: str, body: dict[str, Any], expected: int = 200) -> Any:
        """The decoded answer.

        Raises:
            NotThere: the server cannot do this yet.
            Failed: another status than the expected one.
        """
        async with self._session.post(path, json=body) as answer:
            await self._check(answer, expected)
            return await answer.json()

    async def get(self, path: str) -> Any:
        """The decoded answer, as `post`."""
        async with self._session.get(path) as answer:
            await self._check(answer, 200)
            return await answer.json()

    async def stream(self, path: str, body: dict[str, Any], events: int | None = None) -> list[Any]:
        """The events of a stream; hangs up after `events` of them, if there are as many.

        Raises:
            Failed: it ends with an error, or without an end.
        """
        found = []
        async with self._session.post(path, json=body | {"stream": True}) as answer:
            await self._check(answer, 200)
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found.append(_event(line[6:].strip()))
                    if events is not None and len(found) >= events:
                        return found
        if found and found[-1] is not None and not found[-1].get("stop"):
            raise Failed(f"{path}: the stream has no end: {found[-1]}")
        return found

    async def follow(self, path: str) -> None:
        """Reads the events of a background job until they end."""
        async with self._session.get(path) as answer:
            await self._check(answer, 200)
            await answer.read()

    async def leave(self, path: str, body: dict[str, Any], seconds: float) -> None:
        """Asks and hangs up after some seconds, whatever has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stream(path, body)

    async def _check(self, answer: aiohttp.ClientResponse, expected: int) -> None:
        if answer.status == expected:
            return
        said = (await answer.text())[:300]
        if answer.status == 501:
            raise NotThere(said)
        raise Failed(f"{answer.url.path}: status {answer.status}: {said}")


def _event(data: bytes) -> Any:
    """An event's object; None for the end mark."""
    if data == b"[DONE]":
        return None
    event = json.loads(data)
    if "error" in event:
        raise Failed(f"the stream ends with {event['error']}")
    return event


def _messages(client: Client, question: str = "Tell me about") -> list[dict[str, str]]:
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{question}{words(str(client.chance.random()), 6)}."},
    ]


def _sampling(client: Client) -> dict[str, Any]:
    """Settings that lead through all samplers in the course of time."""
    chance = client.chance
    return {
        "temperature": chance.choice([0.0, 0.7, 1.3]),
        "top_p": chance.choice([0.5, 0.9, 1.0]),
        "presence_penalty": chance.choice([0.0, 0.5]),
        "seed": chance.randrange(1 << 31),
    }


def _prompt(client: Client, most: int) -> str:
    return "Once upon a time" + words(str(client.chance.random()), client.chance.randrange(4, most))


async def chat(client: Client) -> None:
    """A streamed conversation with a system prompt that others have, too."""
    body = {"model": MODEL, "messages": _messages(client), "max_tokens": client.chance.randrange(8, 64)}
    await client.stream("/v1/chat/completions", body | _sampling(client))


async def several(client: Client) -> None:
    """Three answers to one question."""
    body = {"model": MODEL, "messages": _messages(client), "max_tokens": 16, "n": 3, "temperature": 1.0}
    answer = await client.post("/v1/chat/completions", body)
    if len(answer["choices"]) != 3:
        raise Failed(f"{len(answer['choices'])} answers instead of 3")


async def completion(client: Client) -> None:
    """llama.cpp's own route, streamed."""
    body = {"prompt": _prompt(client, 60), "n_predict": client.chance.randrange(4, 80), **_sampling(client)}
    await client.stream("/completion", body | {"stop": ["\n\n\n"], "cache_prompt": client.chance.random() < 0.7})


async def long_prompt(client: Client) -> None:
    """A prompt of many chunks."""
    prompt = words(str(client.chance.random()), client.chance.randrange(800, 1500))
    await client.stream("/completion", {"prompt": prompt, "n_predict": 8})


async def json_schema(client: Client) -> None:
    """An answer that must be an object of three fields."""
    body = {"prompt": _prompt(client, 20) + " JSON:", "n_predict": 80, "json_schema": _SCHEMA, **_sampling(client)}
    answer = await client.post("/completion", body)
    if answer["stop_type"] == "eos" and set(json.loads(answer["content"])) != set(_SCHEMA["required"]):
        raise Failed(f"the answer is not of the schema: {answer['content']!r}")


async def grammar(client: Client) -> None:
    """An answer that a GBNF grammar binds."""
    body = {"prompt": _prompt(client, 20), "n_predict": 12, "grammar": 'root ::= ("yes" | "no") [.!]', "top_p": 1.0}
    answer = await client.post("/completion", body)
    if answer["content"] not in {"yes.", "yes!", "no.", "no!"}:
        raise Failed(f"the answer is not of the grammar: {answer['content']!r}")


async def tools(client: Client) -> None:
    """A conversation in which a tool must be called."""
    body = {"model": MODEL, "messages": _messages(client, "Open a door for"), "max_tokens": 64}
    further = {"tools": [_TOOL], "tool_choice": client.chance.choice(["auto", "required"]), "temperature": 0.5}
    await client.post("/v1/chat/completions", body | further)


async def probabilities(client: Client) -> None:
    """A completion with the likeliest tokens at each place."""
    answer = await client.post("/completion", {"prompt": _prompt(client, 20), "n_predict": 12, "n_probs": 5})
    if len(answer["completion_probabilities"]) != answer["tokens_predicted"]:
        raise Failed("not every token has its probabilities")


async def embeddings(client: Client) -> None:
    """Vectors of some texts."""
    texts = [words(str(client.chance.random()), client.chance.randrange(2, 100)) for _ in range(3)]
    answer = await client.post("/v1/embeddings", {"model": MODEL, "input": texts})
    if len(answer["data"]) != len(texts):
        raise Failed(f"{len(answer['data'])} vectors for {len(texts)} texts")


async def tokens(client: Client) -> None:
    """There and back again."""
    text = _prompt(client, 300)
    answer = await client.post("/tokenize", {"content": text})
    back = await client.post("/detokenize", {"tokens": answer["tokens"]})
    if back["content"] != text:
        raise Failed(f"detokenized {back['content'][:80]!r} instead of {text[:80]!r}")


async def leave_early(client: Client) -> None:
    """Hangs up while the job waits, or its prompt is computed."""
    body = {"prompt": words(str(client.chance.random()), 1200), "n_predict": 500}
    await client.leave("/completion", body, client.chance.random() * _HASTE)


async def leave_late(client: Client) -> None:
    """Hangs up after some tokens."""
    body = {"model": MODEL, "messages": _messages(client), "max_tokens": 400}
    await client.stream("/v1/chat/completions", body, client.chance.randrange(1, 20))


async def background(client: Client) -> None:
    """A job that no client waits for, followed to its end."""
    body = {"prompt": _prompt(client, 20), "n_predict": 16}
    made = await client.post("/v1/jobs", {"url": "/completion", "body": body}, 202)
    await client.follow(f"/v1/jobs/{made['id']}/events")
    answer = await client.get(f"/v1/jobs/{made['id']}/result")
    if answer["tokens_predicted"] > 16:
        raise Failed(f"{answer['tokens_predicted']} tokens instead of 16")


async def mistake(client: Client) -> None:
    """Requests that must be refused."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"model": MODEL, "messages": "none"}),
        ("/completion", {"prompt": words("long", 9000), "n_predict": 4}),
        ("/completion", {"prompt": "x", "temperature": "hot"}),
        ("/v1/completions", {"model": MODEL, "prompt": [1 << 40]}),
    ]
    path, body = client.chance.choice(wrong)
    await client.post(path, body, 400)


KINDS: dict[str, tuple[Callable[[Client], Awaitable[None]], int]] = {
    "chat": (chat, 6),
    "several": (several, 2),
    "completion": (completion, 6),
    "long_prompt": (long_prompt, 2),
    "json_schema": (json_schema, 3),
    "grammar": (grammar, 2),
    "tools": (tools, 2),
    "probabilities": (probabilities, 2),
    "embeddings": (embeddings, 3),
    "tokens": (tokens, 4),
    "leave_early": (leave_early, 3),
    "leave_late": (leave_late, 3),
    "background": (background, 2),
    "mistake": (mistake, 1),
}
"""Every kind of request, and how often it comes compared with the others."""


class Load:
    """Some clients, each with one request after another; the kinds are drawn at random."""

    def __init__(self, session: aiohttp.ClientSession, seed: int = 1) -> None:
        self._session = session
        self._chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        """Requests that went as they should, by kind."""
        self.failed: Counter[str] = Counter()
        self.failures: list[str] = []
        """What was wrong with the first of them."""
        self.skipped: dict[str, str] = {}
        """Kinds that the server refused with 501, and its words."""

    async def tour(self) -> None:
        """Every kind once, one after another."""
        client = Client(self._session, random.Random(self._chance.random()))
        for kind in KINDS:
            await self.one(client, kind)

    async def run(self, clients: int, until: Callable[[], bool]) -> None:
        """Many at once, until it is time; the last requests are waited for."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(until))

    async def _client(self, until: Callable[[], bool]) -> None:
        client = Client(self._session, random.Random(self._chance.random()))
        while not until():
            kinds = [kind for kind in KINDS if kind not in self.skipped]
            await self.one(client, client.chance.choices(kinds, [KINDS[kind][1] for kind in kinds])[0])

    async def one(self, client: Client, kind: str) -> None:
        """One request of a kind, counted."""
        try:
            await KINDS[kind][0](client)
        except NotThere as refusal:
            self.skipped[kind] = str(refusal)
        except (Failed, aiohttp.ClientError, TimeoutError, ValueError, LookupError) as error:
            self.failed[kind] += 1
            if len(self.failures) < 20:
                self.failures.append(f"{kind}: {type(error).__name__}: {error}")
        else:
            self.done[kind] += 1
