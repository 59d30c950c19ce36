"""Ending the reasoning of a running chat completion."""

import json
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.config import KeySection
from velesio.errors import BadRequest
from velesio.http.openai.control import job_of

JOB = "0123456789abcdef" * 2
END = {"action": "reasoning_end"}
PATH = "/v1/chat/completions/control"
LONG = {"messages": [{"role": "user", "content": "[[sleep 0.02]][[tokens 500]]a"}], "stream": True}


@pytest.mark.parametrize("name", [f"chatcmpl-{JOB}", JOB, f"cmpl-{JOB}", f"resp_{JOB}"])
def test_an_answer_is_called_after_its_job(name: str) -> None:
    """Whatever stands before it."""
    assert job_of(END | {"id": name}) == JOB


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"id": JOB}, "action"),
        ({"id": JOB, "action": "stop"}, "action"),
        (END, "id"),
        (END | {"id": "chatcmpl-1"}, "id"),
        (END | {"id": 5}, "id"),
    ],
)
def test_mistakes_are_named(raw: dict[str, Any], param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        job_of(raw)
    assert caught.value.param == param


async def test_a_running_completion_is_told(site: Site) -> None:
    """Its worker's engine hears of it; when it has ended there is nothing to end."""
    async with site.client.post(f"{site.address}/v1/chat/completions", json=LONG) as stream:
        name = json.loads((await stream.content.readline()).removeprefix(b"data: "))["id"]
        assert site.worker is not None
        (held,) = site.worker._held.values()
        assert (await site.post(PATH, END | {"id": name})).json() == {"success": True}
        await until(lambda: held.work is not None and held.work.thought_enough)
    await until(lambda: site.worker is not None and not site.worker._held)
    answer = (await site.post(PATH, END | {"id": name})).json()
    assert (answer["success"], "running" in answer["message"]) == (False, True)


async def test_nobody_ends_what_is_not_his(start_site: StartSite) -> None:
    """Another tenant's completion is as good as none."""
    site = await start_site(keys=[KeySection(name=name, token=name, tenant=name) for name in ("one", "two")])
    headers = {"Authorization": "Bearer one"}
    async with site.client.post(f"{site.address}/v1/chat/completions", json=LONG, headers=headers) as stream:
        name = json.loads((await stream.content.readline()).removeprefix(b"data: "))["id"]
        answers = [
            (await site.post(PATH, END | {"id": name}, Authorization=f"Bearer {key}")).json()["success"]
            for key in ("two", "one")
        ]
    assert answers == [False, True]
