"""Keys, tenants, the audit log and usage over HTTP."""

import csv
from typing import Any

from tests.http.conftest import Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection
from velesio.queue.audit import Audit

SPECS = (ModelSpec(name="parrot"), ModelSpec(name="painter", options={"capability": "image"}))
KEYS = [KeySection(name="boss", token="boss", scopes=("admin",)), KeySection(name="user", token="user")]
BOSS = {"X_Api_Key": "boss"}


async def made(site: Site, **fields: Any) -> dict[str, Any]:
    """A key that is good here."""
    answer = await site.post("/admin/keys", fields, **BOSS)
    assert answer.status == 201, answer.body
    key: dict[str, Any] = answer.json()
    await until(lambda: site.gateway.keys.find(key["key"]), within=2.0)
    return key


async def test_the_life_of_a_key(start_site: StartSite) -> None:
    """Made, shown without its secret, changed, rotated, revoked; only administrators may."""
    site = await start_site(keys=KEYS, specs=SPECS)
    assert (await site.post("/admin/keys", {"name": "x"}, X_Api_Key="user")).status == 403
    key = await made(site, name="game", tenant="studio", scopes=["text"], limits={"requests": 5})
    assert key["key"].startswith(f"vk_{key['id']}_")
    assert len(key["key"]) == 3 + 10 + 1 + 43
    token, path = key.pop("key"), f"/admin/keys/{key['id']}"
    assert (await site.get(path, **BOSS)).json() == key
    assert (await site.get("/admin/keys/game", **BOSS)).json() == key
    assert (await site.get("/admin/keys", **BOSS)).json()["data"] == [key]
    changed = await site.ask("PATCH", path, {"scopes": ["images"], "expires": "2999-01-01T00:00:00Z"}, **BOSS)
    assert changed.json() == key | {"scopes": ["images"], "expires": 32472144000.0}
    turned = (await site.post(f"{path}/rotate", {"grace": 60}, **BOSS)).json()
    assert turned["key"] not in {token, ""}
    assert turned["earlier_secret_until"] > 0
    ended = await site.ask("DELETE", f"{path}?streams=end", **BOSS)
    assert (ended.status, ended.json()["state"]) == (200, "revoked")
    assert (await site.post(f"{path}/rotate", {}, **BOSS)).status == 400
    assert (await site.get("/admin/keys/nobody", **BOSS)).status == 404


async def test_what_cannot_be_a_key_is_refused(start_site: StartSite) -> None:
    """400 with the field's name, and nothing is made."""
    site = await start_site(keys=KEYS, specs=())
    for body, param in [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "a", "limits": {"requests": -1}}, "limits.requests"),
        ({"name": "a", "limits": {"bananas": 1}}, "limits"),
        ({"name": "a", "expires": "tomorrow"}, "expires"),
        ({"name": "a", "expires": "2027-01-01T00:00:00"}, "expires"),
        ({"name": "a", "colour": "red"}, "colour"),
    ]:
        answer = await site.post("/admin/keys", body, **BOSS)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param), body
    assert (await site.get("/admin/keys", **BOSS)).json()["data"] == []


async def test_the_broker_and_the_audit_log_hold_no_secret(start_site: StartSite) -> None:
    """What is stored is a digest; the log tells who did what to which key, and the difference."""
    site = await start_site(keys=KEYS, specs=())
    key = await made(site, name="game")
    await site.ask("PATCH", f"/admin/keys/{key['id']}", {"tenant": "studio"}, **BOSS)
    await site.ask("DELETE", f"/admin/keys/{key['id']}", **BOSS)
    broker = site.gateway.broker
    everything = b"".join(
        [
            *(await broker.command("HGETALL", f"{broker.keys.root}keys")).values(),
            *(fields[1] for _, fields in await broker.command("XRANGE", f"{broker.keys.root}audit", "-", "+")),
        ]
    )
    assert key["key"].rpartition("_")[2].encode() not in everything
    last, second, first = (await site.get("/admin/audit?limit=3", **BOSS)).json()["data"]
    assert [each["action"] for each in (first, second, last)] == ["key.create", "key.change", "key.revoke"]
    assert {each["actor"] for each in (first, second, last)} == {"boss"}
    assert second["difference"] == {"tenant": ["default", "studio"]}
    assert set(last["difference"]) == {"revoked"}
    assert [entry.action for entry in await Audit(broker).recent(1)] == ["key.revoke"]
    assert (await site.get("/admin/audit?limit=0", **BOSS)).status == 400


async def test_tenants_have_shares_caps_and_budgets(start_site: StartSite) -> None:
    """What is said of a tenant holds for its keys: its weight in the queue, its limits, its models."""
    site = await start_site(keys=KEYS, specs=SPECS)
    body = {"weight": 4.0, "waiting": 7, "models": ["par*"], "limits": {"month_tokens": 1000}}
    put = await site.ask("PUT", "/admin/tenants/studio", body, **BOSS)
    assert put.json() == {"name": "studio", **body}
    key = await made(site, name="game", tenant="studio")
    await until(lambda: site.gateway.keys.tenant("studio").weight == 4.0, within=2.0)
    ask = {"model": "parrot", "prompt": "a", "max_tokens": 9}
    answer = await site.post("/v1/completions", ask, X_Api_Key=key["key"])
    assert (answer.status, answer.headers["X-RateLimit-Limit-Month-Tokens"]) == (200, "1000")
    broker = site.gateway.broker
    assert await broker.command("HGET", broker.keys.job(answer.headers["X-Velesio-Job-Id"]), "w") == b"4.0"
    picture = {"model": "painter", "prompt": "a"}
    assert (await site.post("/v1/images/generations", picture, X_Api_Key=key["key"])).status == 403
    assert [each["name"] for each in (await site.get("/admin/tenants", **BOSS)).json()["data"]] == ["studio"]
    assert (await site.ask("DELETE", "/admin/tenants/studio", **BOSS)).status == 204
    assert (await site.get("/admin/tenants/studio", **BOSS)).status == 404
    assert (await site.ask("PUT", "/admin/tenants/studio", {"weight": 0}, **BOSS)).status == 400


async def test_usage_is_told_by_day_and_hour(start_site: StartSite) -> None:
    """A key sees its own, an administrator everybody's; as JSON or CSV, with filters."""
    site = await start_site(keys=KEYS, specs=SPECS)
    key = await made(site, name="=game", tenant="studio")
    token = {"X_Api_Key": key["key"]}
    said = [
        (await site.post("/v1/completions", {"model": "parrot", "prompt": "a b c"}, **token)).json()["usage"]
        for _ in range(2)
    ]
    await site.post("/v1/images/generations", {"model": "painter", "prompt": "a", "n": 2, "size": "64x64"}, **token)
    await site.post("/v1/completions", {"model": "parrot", "prompt": "[[fail]] a"}, X_Api_Key="user")
    own = (await site.get("/usage", **token)).json()
    text = next(row for row in own["data"] if row["model"] == "parrot")
    assert (text["key"], text["tenant"], text["requests"], text["failed"]) == (key["id"], "studio", 2, 0)
    assert text["prompt_tokens"] == sum(each["prompt_tokens"] for each in said)
    assert text["completion_tokens"] == sum(each["completion_tokens"] for each in said)
    assert own["total"]["images"] == 2
    assert own["total"]["gpu_seconds"] >= 0
    hours = (await site.get("/usage?by=hour", **token)).json()
    assert hours["total"] == own["total"]
    assert (await site.get("/usage?key=user", **token)).status == 403
    everybody = (await site.get("/usage", **BOSS)).json()
    assert {row["key"] for row in everybody["data"]} == {key["id"], "user"}
    assert next(row for row in everybody["data"] if row["key"] == "user")["failed"] == 1
    filtered = (await site.get("/usage?tenant=studio&model=painter", **BOSS)).json()["data"]
    assert [(row["model"], row["images"]) for row in filtered] == [("painter", 2)]
    answer = await site.get("/usage", Accept="text/csv", **BOSS)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    heading, *lines = csv.reader(answer.body.decode().splitlines())
    assert heading[:5] == ["start", "key", "tenant", "model", "requests"]
    assert len(lines) == len(everybody["data"])
    assert (await site.get("/usage?format=csv", **token)).body.decode().startswith("start,key,")
    assert (await site.get("/usage?from=2001-01-01&to=2001-01-02", **token)).json()["data"] == []
    for wrong in ("by=week", "from=yesterday", "format=pdf", "from=2001-01-01", "from=2027-02-02&to=2027-01-01"):
        assert (await site.get(f"/usage?{wrong}", **token)).status == 400, wrong
