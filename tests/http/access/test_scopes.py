"""Scopes: which routes and jobs a key is for."""

import asyncio

import pytest

from tests.http.conftest import Answer, Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import AccessSection, KeySection, Scope
from velesio.errors import Forbidden
from velesio.http.access import scopes
from velesio.http.access.keys import LOCAL, Credential, KeyRing
from velesio.queue.credentials import Credentials, KeyRecord

KEYS = [
    KeySection(name="writer", token="writer", scopes=("text",)),
    KeySection(name="painter", token="painter", scopes=("images",)),
    KeySection(name="boss", token="boss", scopes=("admin",)),
]


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/", ""),
        ("/v1/models", ""),
        ("/v1/models/org/bird", ""),
        ("/v1/jobs/12/events", ""),
        ("/completion", "text"),
        ("/v1/chat/completions", "text"),
        ("/api/chat", "text"),
        ("/api/tags", ""),
        ("/v1/images/generations", "images"),
        ("/sdapi/v1/txt2img", "images"),
        ("/admin", "admin"),
        ("/admin/keys/12", "admin"),
        ("/administer", "text"),
        ("/nowhere/at/all", "text"),
    ],
)
def test_the_nearest_known_place_tells_the_scope(path: str, scope: str) -> None:
    """Everything below /admin is an administrator's; what nobody lists is about text."""
    assert scopes.scope_of(path) == scope


@pytest.mark.parametrize(
    ("has", "needs", "allowed"),
    [
        (("text",), "text", True),
        (("text",), "images", False),
        (("admin",), "text", False),
        ((), "text", False),
        ((), "", True),
    ],
)
def test_a_key_has_its_scopes_and_no_more(has: tuple[Scope, ...], needs: str, allowed: bool) -> None:
    """An administrator's key makes no texts either, unless it is told to."""
    credential = Credential("a", scopes=has)
    if allowed:
        scopes.demand(credential, needs)
    else:
        with pytest.raises(Forbidden, match=f"scope '{needs}'"):
            scopes.demand(credential, needs)


def test_without_keys_this_machine_may_do_everything() -> None:
    """The local credential has every scope, a key as configured by default all but one."""
    for scope in ("text", "images", "admin"):
        scopes.demand(LOCAL, scope)
    assert Credential().scopes == ("text", "images") == KeySection(name="a").scopes


async def test_routes_and_background_jobs_ask_for_the_scope_of_what_they_make(start_site: StartSite) -> None:
    """403 in the family's shape, whichever way a job would be made; and 404 is for those who may look."""
    site = await start_site(keys=KEYS)
    ask = {"prompt": "a", "max_tokens": 1}
    assert (await site.post("/v1/completions", ask, X_Api_Key="writer")).status == 200
    assert (await site.get("/v1/models", X_Api_Key="boss")).status == 200
    refused = [
        ("/v1/completions", ask, "painter"),
        ("/v1/completions", ask, "boss"),
        ("/v1/images/generations", {"prompt": "a"}, "writer"),
        ("/v1/jobs", {"url": "/v1/completions", "body": ask}, "painter"),
        ("/v1/jobs", {"url": "/v1/images/generations", "body": {"prompt": "a"}}, "writer"),
    ]
    for path, body, key in refused:
        answer = await site.post(path, body, X_Api_Key=key)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "forbidden"), (path, key)
    assert (await site.get("/admin/nothing", X_Api_Key="writer")).status == 403
    assert (await site.get("/admin/nothing", X_Api_Key="boss")).status == 404


@pytest.mark.parametrize(
    ("tenants", "shared", "expected"),
    [
        ((), "auto", False),
        (("a", "a"), "auto", False),
        (("a", "b"), "auto", True),
        (("a", "admin:b"), "auto", False),
        (("a",), "yes", True),
        (("a", "b"), "no", False),
    ],
)
def test_a_server_is_shared_if_several_tenants_have_jobs_made(
    tenants: tuple[str, ...], shared: str, expected: bool
) -> None:
    """Unless the configuration says otherwise; who only administers is no tenant."""
    keys = [
        KeySection(name=str(number), token=str(number), tenant=text, scopes=("admin",) if ":" in text else ("text",))
        for number, text in enumerate(tenants)
    ]
    assert KeyRing(keys, access=AccessSection(shared=shared)).shared is expected  # type: ignore[arg-type]


DEEDS = [
    ("/models/unload", {"model": "parrot"}),
    ("/slots/0?action=erase", b""),
    ("/slots", {"id_slot": 0, "action": "erase"}),
    ("/api/generate", {"model": "parrot", "keep_alive": 0}),
    ("/lora-adapters", []),
]


async def do(site: Site, path: str, body: object, key: str) -> Answer:
    await until(lambda: site.worker and site.worker.residency.loaded)
    return await site.post(path, body, X_Api_Key=key)


async def test_what_all_feel_is_for_administrators_where_there_are_several_tenants(start_site: StartSite) -> None:
    """While one tenant has all the keys each key may do it, as clients of llama.cpp and LLMUnity expect."""
    keys = [KeySection(name="game", token="game"), KeySection(name="boss", token="boss", scopes=("text", "admin"))]
    site = await start_site(keys=keys, specs=(ModelSpec(name="parrot"),))
    for path, body in DEEDS:
        answer = await do(site, path, body, "game")
        assert answer.status in {200, 501}, (path, answer.body)  # an echo model has no slots to erase
        await site.post("/v1/completions", {"model": "parrot", "prompt": "a"}, X_Api_Key="game")
    credentials = Credentials(site.gateway.broker, site.gateway.keys.pepper, "tester")
    issued = await credentials.create(KeyRecord(id="", name="new", tenant="studio"))
    await until(lambda: site.gateway.keys.shared)
    for path, body in DEEDS:
        refused = await do(site, path, body, "game")
        assert (refused.status, "other tenants" in refused.body.decode()) == (403, True), path
    assert (await do(site, "/models/unload", {"model": "parrot"}, "boss")).status == 200
    await credentials.revoke(issued.record.id)
    await until(lambda: not site.gateway.keys.shared)


async def test_a_tenant_of_several_does_not_say_when_a_model_goes(start_site: StartSite) -> None:
    """A keep-alive in a request is passed over: refusing it would break Ollama's clients, which send one each time."""
    keys = [KeySection(name=name, token=name, tenant=name) for name in ("one", "two")]
    site = await start_site(keys=keys, specs=(ModelSpec(name="parrot"),))
    ask = {"model": "parrot", "prompt": "a", "stream": False, "keep_alive": 0}
    assert (await site.post("/api/generate", ask, X_Api_Key="one")).status == 200
    assert site.worker is not None
    [state] = site.worker.residency.states().values()
    assert (state.state, state.expires_at) == ("loaded", None)


VARIANTS = [
    *("/%61dmin/keys", "/admin%2Fkeys", "//admin/keys", "/admin//keys", "/./admin/keys", "/v1/../admin/keys"),
    *("/static/../admin/keys", "/static/%2e%2e/admin/keys", "/static/..%2fadmin/keys", "/docs/../admin/keys"),
    *("/admin/keys;a", "/ADMIN/keys", "/admin/keys/", "/v1/models/..%2f..%2fadmin%2fkeys", "/admin%5ckeys"),
    *("http://other.example/admin/keys", "/v1/jobs/../../admin/keys", "/sign-in/../admin/keys", "/%2561dmin/keys"),
]


@pytest.mark.parametrize("key", ["writer", ""])
async def test_no_spelling_of_an_address_leads_past_its_scope(start_site: StartSite, key: str) -> None:
    """What is asked for is judged by the address that the router takes it for."""
    site = await start_site(keys=KEYS, specs=())
    shown = f"X-Api-Key: {key}\r\n" if key else ""
    for path in VARIANTS:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{shown}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split()[1] in {b"400", b"401", b"403", b"404"}, (path, answer)
        assert b'"data"' not in answer
