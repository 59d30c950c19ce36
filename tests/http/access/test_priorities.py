"""Priorities: whose jobs are served first, and who says so."""

import pytest

from tests.http.conftest import StartSite
from velesio.config import KeySection, Urgency
from velesio.errors import BadRequest, Forbidden
from velesio.http.access.keys import LOCAL, Credential
from velesio.http.access.priorities import HEADER, allowed, read
from velesio.jobs import JobState, Priority
from velesio.queue.client import JobQueue


@pytest.mark.parametrize(
    ("text", "priority"),
    [("interactive", Priority.INTERACTIVE), (" Batch ", Priority.BATCH), ("normal", Priority.NORMAL)],
)
def test_a_header_names_a_priority(text: str, priority: Priority) -> None:
    """In whatever case."""
    assert read(text) is priority


@pytest.mark.parametrize("text", ["", "urgent", "0", "interactive, batch"])
def test_anything_else_is_refused(text: str) -> None:
    """With what is expected."""
    with pytest.raises(BadRequest, match=f"{HEADER}.*interactive, normal, batch"):
        read(text)


@pytest.mark.parametrize(
    ("own", "most", "asked", "may"),
    [
        ("normal", "normal", "normal", True),
        ("normal", "normal", "batch", True),
        ("normal", "normal", "interactive", False),
        ("normal", "interactive", "interactive", True),
        ("interactive", "normal", "interactive", True),
        ("batch", "batch", "normal", False),
        ("batch", "normal", "normal", True),
    ],
)
def test_a_key_may_ask_for_what_it_has_and_what_it_is_allowed(
    own: Urgency, most: Urgency, asked: str, may: bool
) -> None:
    """Anything less urgent, too."""
    credential = Credential(priority=own, priority_max=most)
    if may:
        assert allowed(credential, read(asked)) is read(asked)
    else:
        with pytest.raises(Forbidden, match="--priority-max"):
            allowed(credential, read(asked))


def test_without_keys_this_machine_may_ask_for_any() -> None:
    """By default its requests are like all others."""
    assert (LOCAL.priority, allowed(LOCAL, Priority.INTERACTIVE)) == ("normal", Priority.INTERACTIVE)


KEYS = [
    KeySection(name="chat", token="chat", priority="interactive"),
    KeySection(name="game", token="game"),
    KeySection(name="bulk", token="bulk", priority="batch", priority_max="normal"),
]
ASK = {"prompt": "a", "max_tokens": 1}
JOB = {"url": "/v1/completions", "body": ASK}


async def test_a_requests_jobs_are_as_urgent_as_its_key_has_it_or_it_says(start_site: StartSite) -> None:
    """Those that are waited for, and background jobs, which are batch unless somebody says otherwise."""
    site = await start_site(keys=KEYS)
    queue = JobQueue(site.gateway.broker)

    async def priority(path: str, body: object, key: str, **headers: str) -> str:
        answer = await site.post(path, body, X_Api_Key=key, **headers)
        if answer.status >= 400:
            return str(answer.status)
        record = await queue.record(answer.headers["X-Velesio-Job-Id"])
        assert record is not None
        return record.priority.name.lower()

    urgent = {"X_Velesio_Priority": "interactive"}
    assert await priority("/v1/completions", ASK, "chat") == "interactive"
    assert await priority("/v1/completions", ASK, "chat", X_Velesio_Priority="batch") == "batch"
    assert await priority("/v1/completions", ASK, "game") == "normal"
    assert await priority("/v1/completions", ASK, "game", **urgent) == "403"
    assert await priority("/v1/completions", ASK, "game", X_Velesio_Priority="soon") == "400"
    assert await priority("/completion", ASK, "bulk") == "batch"
    assert await priority("/v1/jobs", JOB, "chat") == "batch"
    assert await priority("/v1/jobs", JOB, "chat", **urgent) == "interactive"
    assert await priority("/v1/jobs", JOB | {"priority": "interactive"}, "chat") == "interactive"
    assert await priority("/v1/jobs", JOB | {"priority": "normal"}, "chat", **urgent) == "normal"
    assert await priority("/v1/jobs", JOB | {"priority": "interactive"}, "bulk") == "403"
    assert not await queue.recent(JobState.FAILED)
