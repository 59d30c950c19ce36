"""What the soak does beside texts and pictures: jobs in the background, sessions, keys that come and go, models that
are loaded and unloaded, and what clients look up."""

import asyncio
from typing import Any

from benches.soak_client import Client, Failed
from benches.soak_servers import FIRST, PICTURES, SECOND
from benches.text_scenarios import words

_KNOWN_WITHIN = 5.0
"""Seconds in which a gateway must know a new secret, and refuse one that was revoked; one is promised, and the machine
may be busy."""
_PAUSE = 0.1
_LOOKED_AT = ("/v1/models", "/queue/status", "/v1/jobs?limit=20", "/admin/overview", "/sdapi/v1/samplers", "/metrics")


def _ordered(client: Client, tokens: int) -> dict[str, Any]:
    if client.chance.random() < 0.25:
        body = {"prompt": "a red star", "steps": 8, "width": 64, "height": 64, "seed": client.chance.randrange(1 << 30)}
        return {"url": "/sdapi/v1/txt2img", "body": body}
    prompt = "Once upon a time" + words(str(client.chance.random()), 20)
    return {"url": "/completion", "body": {"prompt": prompt, "n_predict": tokens, "model": FIRST}}


async def background(client: Client) -> None:
    """A job that no client waits for, followed to its end."""
    made = await client.post("/v1/jobs", _ordered(client, 16), 202)
    end = await client.follow(f"/v1/jobs/{made['id']}/events")
    if end != "completed":
        raise Failed(f"a job in the background ended as {end}")
    answer = await client.get(f"/v1/jobs/{made['id']}/result")
    if not (answer.get("images") or answer["tokens_predicted"] <= 16):
        raise Failed(f"the result of a job in the background: {str(answer)[:200]}")


async def cancelled(client: Client) -> None:
    """A job that is cancelled by its id, waiting or running."""
    made = await client.post("/v1/jobs", _ordered(client, 1000), 202)
    await asyncio.sleep(client.chance.random())
    async with client.session.delete(f"/v1/jobs/{made['id']}") as answer:
        if answer.status not in {200, 202, 409}:
            raise Failed(f"cancelling: status {answer.status}: {(await answer.text())[:200]}")
    end = await client.follow(f"/v1/jobs/{made['id']}/events")
    if end not in {"cancelled", "completed"}:
        raise Failed(f"a job that was cancelled ended as {end}")
    client.outcomes["cancelled"] += 1


async def session(client: Client) -> None:
    """A conversation that the server keeps, and forgets when it is told to."""
    name = f"soak-{client.chance.randrange(1 << 40)}"
    for question in ("My name is Ada.", "What is my name?"):
        body = {"model": FIRST, "session_id": name, "messages": [{"role": "user", "content": question}]}
        await client.post("/v1/chat/completions", body | {"max_tokens": 12})
    kept = await client.get(f"/v1/sessions/{name}")
    if len(kept["messages"]) != 4:
        raise Failed(f"{len(kept['messages'])} messages of a session instead of 4")
    if client.chance.random() < 0.5:
        await client.send("DELETE", f"/v1/sessions/{name}")


async def key(client: Client) -> None:
    """A key that is made, used, given a new secret and revoked, after which it is good for nothing."""
    tenant = f"tenant-{client.chance.randrange(8)}"
    made = await client.post("/admin/keys", {"name": f"soak-{client.chance.randrange(1 << 40)}", "tenant": tenant}, 201)
    await _until(client, made, 200)
    body = {"model": FIRST, "prompt": "Once upon a time", "max_tokens": 8}
    await client.send("POST", "/v1/completions", body, headers=_bearer(made))
    renewed = await client.post(f"/admin/keys/{made['id']}/rotate", {"grace": 0})
    await _until(client, renewed, 200)
    await client.send("POST", "/v1/completions", body, headers=_bearer(renewed))
    await client.send("DELETE", f"/admin/keys/{made['id']}")
    await _until(client, renewed, 401)
    client.outcomes["refused"] += 1


async def _until(client: Client, made: dict[str, Any], status: int) -> None:
    """Until a key is answered so; no new key is known to each gateway in the same moment."""
    for _ in range(int(_KNOWN_WITHIN / _PAUSE)):
        async with client.session.get("/v1/models", headers=_bearer(made)) as answer:
            if answer.status == status:
                return
        await asyncio.sleep(_PAUSE)
    raise Failed(f"{_KNOWN_WITHIN:g} s after a change a key is answered otherwise than with {status}")


def _bearer(made: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['key']}"}


async def models(client: Client) -> None:
    """Loads or unloads a model, or sets the scale of the adapter for everybody."""
    match client.chance.randrange(4):
        case 0:
            await client.post("/admin/models/load", {"model": client.chance.choice([FIRST, SECOND, PICTURES])})
        case 1:
            await client.post("/admin/models/unload", {"model": client.chance.choice([SECOND, PICTURES])})
        case _:
            scale = client.chance.choice([0.0, 0.2, 0.4])
            await client.post(f"/lora-adapters?model={FIRST}", [{"id": 0, "scale": scale}])


async def look(client: Client) -> None:
    """What dashboards and clients ask for now and then."""
    async with client.session.get(client.chance.choice(_LOOKED_AT)) as answer:
        if answer.status != 200:
            raise Failed(f"{answer.url.path}: status {answer.status}")
        await answer.read()
    client.outcomes["answered"] += 1
