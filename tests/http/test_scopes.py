"""Scopes: which routes and jobs a key is for."""

import pytest

from tests.http.conftest import StartSite
from velesio.config import KeySection, Scope
from velesio.errors import Forbidden
from velesio.http import scopes
from velesio.http.keys import LOCAL, Credential

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
