"""Texts that the soak asks for: chats, completions, grammars, tools, vectors, long prompts, and requests that are
broken off or wrong."""

import json
from typing import Any

from benches.soak_client import Client, Failed
from benches.soak_servers import FIRST, SECOND
from benches.text_scenarios import words

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
_SWITCHES = 0.04
"""Part of the requests that ask for the other model."""
_HASTE = 0.25
"""Seconds after which the impatient hang up, at most."""


def _messages(client: Client, question: str = "Tell me about") -> list[dict[str, str]]:
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{question}{words(str(client.chance.random()), 6)}."},
    ]


def _model(client: Client) -> str:
    """The first, and seldom the second, for which the first may have to be unloaded."""
    return SECOND if client.chance.random() < _SWITCHES else FIRST


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
    body = {"model": _model(client), "messages": _messages(client), "max_tokens": client.chance.randrange(8, 64)}
    await client.stream("/v1/chat/completions", body | _sampling(client))


async def several(client: Client) -> None:
    """Three answers to one question."""
    body = {"model": _model(client), "messages": _messages(client), "max_tokens": 16, "n": 3, "temperature": 1.0}
    answer = await client.post("/v1/chat/completions", body)
    if len(answer["choices"]) != 3:
        raise Failed(f"{len(answer['choices'])} answers instead of 3")


async def completion(client: Client) -> None:
    """llama.cpp's own route, streamed."""
    body = {"prompt": _prompt(client, 60), "n_predict": client.chance.randrange(4, 80), **_sampling(client)}
    if client.chance.random() < 0.3:
        body["lora"] = [{"id": 0, "scale": client.chance.choice([0.0, 0.3, 0.6])}]
    await client.stream("/completion", body | {"stop": ["\n\n\n"], "cache_prompt": client.chance.random() < 0.7})


async def long_prompt(client: Client) -> None:
    """A prompt of many chunks."""
    prompt = words(str(client.chance.random()), client.chance.randrange(300, 800))
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
    body = {"model": _model(client), "messages": _messages(client, "Open a door for"), "max_tokens": 64}
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
    answer = await client.post("/v1/embeddings", {"model": _model(client), "input": texts})
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
    body = {"prompt": words(str(client.chance.random()), 800), "n_predict": 500}
    await client.leave("/completion", body, client.chance.random() * _HASTE)


async def leave_late(client: Client) -> None:
    """Hangs up after some tokens."""
    body = {"model": _model(client), "messages": _messages(client), "max_tokens": 400}
    await client.stream("/v1/chat/completions", body, client.chance.randrange(1, 20))


async def mistake(client: Client) -> None:
    """Requests that must be refused."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"model": _model(client), "messages": "none"}),
        ("/completion", {"prompt": words("long", 5000), "n_predict": 4}),
        ("/completion", {"prompt": "x", "temperature": "hot"}),
        ("/v1/completions", {"model": _model(client), "prompt": [1 << 40]}),
    ]
    path, body = client.chance.choice(wrong)
    await client.post(path, body, 400)
