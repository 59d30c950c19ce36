"""Lists of jobs: a tenant's own, the last ones first, page by page."""

import pytest

from tests.http.background.test_jobs import FOREVER, KEYS, NATIVE, SLOW, ended, queued
from tests.http.conftest import SPECS, Site, StartSite


async def ids(site: Site, query: str = "", **headers: str) -> list[str]:
    answer = await site.get(f"/v1/jobs{query}", **headers)
    assert answer.status == 200, answer.body
    return [job["id"] for job in answer.json()["data"]]


async def test_a_tenant_sees_its_own_jobs_the_last_ones_first(start_site: StartSite) -> None:
    """Those of its other keys as well; nobody else's."""
    site = await start_site(keys=KEYS)
    mine = [await queued(site, NATIVE, X_Api_Key="key-a") for _ in range(3)]
    other = await queued(site, NATIVE, X_Api_Key="key-b")
    assert await ids(site, X_Api_Key="key-a") == mine[::-1]
    assert await ids(site, X_Api_Key="key-c") == mine[::-1]
    assert await ids(site, X_Api_Key="key-b") == [other]
    for job in mine:
        await ended(site, job, X_Api_Key="key-a")
    await ended(site, other, X_Api_Key="key-b")


async def test_pages_follow_one_another(site: Site) -> None:
    """Each begins after the last one's last job; the last says that there is no more."""
    jobs = [await queued(site, NATIVE) for _ in range(5)][::-1]
    seen, after, pages = [], "", []
    while True:
        page = (await site.get(f"/v1/jobs?limit=2{after}")).json()
        seen += [job["id"] for job in page["data"]]
        pages.append(page["has_more"])
        if not page["has_more"]:
            break
        after = f"&after={seen[-1]}"
    assert seen == jobs
    assert pages == [True, True, False]
    assert await ids(site, "?after=unknown") == []
    for job in jobs:
        await ended(site, job)


async def test_a_list_can_be_of_some_states(start_site: StartSite) -> None:
    """What waits says its place, what failed says why."""
    site = await start_site(specs=(*SPECS, SLOW))
    done = await queued(site, NATIVE)
    await ended(site, done)
    failed = await queued(site, {"url": "/completion", "body": {"prompt": "[[fail bad luck]]"}})
    await ended(site, failed)
    slow = {**FOREVER, "body": {**FOREVER["body"], "model": "slow"}}
    live = [await queued(site, slow) for _ in range(2)]
    assert await ids(site, "?state=done") == [done]
    assert await ids(site, "?state=queued&state=running") == live[::-1]
    [told] = (await site.get("/v1/jobs?state=failed")).json()["data"]
    assert "bad luck" in told["error"]["message"]
    for job in live:
        await site.ask("DELETE", f"/v1/jobs/{job}")
        await ended(site, job)


async def test_what_is_not_known_any_more_is_struck_off(site: Site) -> None:
    """A job whose record has expired is in no list."""
    first, second = await queued(site, NATIVE), await queued(site, NATIVE)
    await ended(site, first)
    await ended(site, second)
    await site.gateway.broker.command("DEL", site.gateway.broker.keys.job(first))
    assert await ids(site) == [second]
    assert await site.gateway.broker.command("ZCARD", site.gateway.broker.keys.mine("default")) == 1


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=x", "?state=happy", "?after=../x", "?limit=²"])
async def test_what_cannot_be_meant_is_refused(site: Site, query: str) -> None:
    """400 with the name of the parameter."""
    answer = await site.get(f"/v1/jobs{query}")
    assert answer.status == 400
    assert query[1:].partition("=")[0] in answer.json()["error"]["message"]
