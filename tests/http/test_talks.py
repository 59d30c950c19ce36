"""Sessions: a chat goes on where its session stopped; each key's own, bounded, and only for those that ask."""

import asyncio
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.config import KeySection, SessionSection
from velesio.http.talks import joined, turn_of
from velesio.jobs import Chat, Job, TextResult
from velesio.queue.client import JobQueue, Ticket
from velesio.queue.credentials import Credentials, KeyRecord
from velesio.queue.sessions import Turn

CHAT = "/v1/chat/completions"
KEYS = (KeySection(name="a", token="a", tenant="t"), KeySection(name="b", token="b", tenant="t"))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


async def say(site: Site, text: str, session: str = "s", **headers: str) -> Any:
    answer = await site.post(CHAT, {"messages": [user(text)], "session_id": session}, **headers)
    assert answer.status == 200, answer.body
    return answer.json()


async def messages(site: Site, session: str = "s", **headers: str) -> list[dict[str, Any]]:
    answer = await site.get(f"/v1/sessions/{session}", **headers)
    return answer.json()["messages"] if answer.status == 200 else []


async def test_a_session_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request sends only what is new, and the model is asked all of it."""
    seen, enqueue = [], JobQueue.enqueue

    async def spy(self: JobQueue, job: Job, **options: Any) -> Ticket:
        assert isinstance(job.params, Chat)
        seen.append([message["content"] for message in job.params.messages])
        return await enqueue(self, job, **options)

    monkeypatch.setattr(JobQueue, "enqueue", spy)
    first = await say(site, "one two three")
    await say(site, "four")
    await site.post(CHAT, {"messages": [user("four")]})
    answer = first["choices"][0]["message"]["content"]
    assert seen == [["one two three"], ["one two three", answer, "four"], ["four"]]
    kept = await messages(site)
    assert [message["role"] for message in kept] == ["user", "assistant", "user", "assistant"]
    assert kept[0] == user("one two three")
    assert kept[1] == said(answer)


async def test_nothing_is_remembered_for_who_names_no_session(site: Site) -> None:
    """Off unless it is asked for, request by request."""
    await site.post(CHAT, {"messages": [user("one")]})
    assert (await site.get("/v1/sessions")).json()["data"] == []


async def test_a_header_names_a_session_in_each_chat_family(site: Site) -> None:
    """OpenAI's, Anthropic's and Ollama's chats go on in the same conversation, streamed or not."""
    ask = {"messages": [user("one")], "model": "parrot", "max_tokens": 3}
    assert (await site.post(CHAT, ask | {"stream": True}, X_Session_Id="x")).status == 200
    assert (await site.post("/v1/messages", ask, X_Session_Id="x")).status == 200
    assert (await site.post("/v1/messages", ask | {"stream": True}, X_Session_Id="x")).status == 200
    assert (await site.post("/api/chat", ask | {"stream": False}, X_Session_Id="x")).status == 200
    assert [message["role"] for message in await messages(site, "x")] == ["user", "assistant"] * 4


async def test_a_turn_is_there_when_its_stream_has_ended(site: Site) -> None:
    """Whoever asks at once after the last event finds it."""
    for number in range(1, 6):
        body = {"messages": [user("hi")], "session_id": "s", "stream": True}
        assert (await site.post(CHAT, body)).status == 200
        assert len(await messages(site)) == 2 * number


async def test_an_answer_that_fails_is_no_turn(site: Site) -> None:
    """The session is as it was before."""
    await say(site, "one")
    answer = await site.post(CHAT, {"messages": [user("[[fail no luck]]")], "session_id": "s"})
    assert answer.status == 500
    assert len(await messages(site)) == 2


async def test_sessions_are_a_keys_own(start_site: StartSite) -> None:
    """Another key of the same tenant neither sees nor goes on with one of the same name."""
    site = await start_site(keys=KEYS)
    await say(site, "one", X_Api_Key="a")
    assert await messages(site, X_Api_Key="b") == []
    assert (await site.ask("DELETE", "/v1/sessions/s", X_Api_Key="b")).status == 404
    await say(site, "two", X_Api_Key="b")
    assert (await messages(site, X_Api_Key="a"))[0]["content"] == "one"
    assert len(await messages(site, X_Api_Key="a")) == 2


async def test_keys_of_one_name_are_two_owners(start_site: StartSite) -> None:
    """A name is what logs call a key: whoever gets another's, or that of a key that was revoked, gets no sessions."""
    site = await start_site(keys=KEYS)
    credentials = Credentials(site.gateway.broker, site.gateway.keys.pepper, "tester")
    first, second = [await credentials.create(KeyRecord(id="", name="game", tenant="t")) for _ in range(2)]
    await until(lambda: site.gateway.keys.find(second.token))
    await say(site, "a secret", X_Api_Key=first.token)
    assert await messages(site, X_Api_Key=first.token)
    assert not await messages(site, X_Api_Key=second.token)
    await credentials.change(first.record.id, {"name": "renamed"})
    await until(lambda: (found := site.gateway.keys.find(first.token)) and found.name == "renamed")
    assert await messages(site, X_Api_Key=first.token)


async def test_they_are_listed_and_deleted(site: Site) -> None:
    """The last used first; what is deleted is gone."""
    for name in ("first", "second", "first"):
        await say(site, "one", name)
        await asyncio.sleep(0.002)
    listed = (await site.get("/v1/sessions")).json()["data"]
    assert [(each["id"], each["turns"]) for each in listed] == [("first", 2), ("second", 1)]
    assert (await site.ask("DELETE", "/v1/sessions/first")).json()["deleted"] is True
    assert (await site.get("/v1/sessions/first")).status == 404
    assert [each["id"] for each in (await site.get("/v1/sessions")).json()["data"]] == ["second"]


async def test_they_are_bounded(start_site: StartSite) -> None:
    """The oldest turns go, by number and by bytes; of too many sessions the one not used for longest."""
    site = await start_site(sessions=SessionSection(max_turns=2, max_bytes=1000, limit=2))
    for text in ("one", "two", "three"):
        await say(site, text)
    assert [message["content"] for message in await messages(site)][::2] == ["two", "three"]
    await say(site, "x " * 230)
    assert len(await messages(site)) == 2
    await say(site, "y " * 600, "large")
    assert await messages(site, "large") == []
    for name in ("p", "q"):
        await say(site, "one", name)
    assert [each["id"] for each in (await site.get("/v1/sessions")).json()["data"]] == ["q", "p"]


async def test_a_full_session_can_be_refused(start_site: StartSite) -> None:
    """409 with the remedy, where the operator wants nothing to be forgotten."""
    site = await start_site(sessions=SessionSection(max_turns=1, when_full="refuse"))
    await say(site, "one")
    answer = await site.post(CHAT, {"messages": [user("two")], "session_id": "s"})
    assert (answer.status, answer.json()["error"]["code"]) == (409, "session_full")
    assert "DELETE /v1/sessions/s" in answer.json()["error"]["message"]


async def test_a_server_may_keep_none(start_site: StartSite) -> None:
    """403 that says which option; requests without a session are as ever."""
    site = await start_site(sessions=SessionSection(enabled=False))
    for answer in (
        await site.post(CHAT, {"messages": [user("x")]}, X_Session_Id="s"),
        await site.get("/v1/sessions"),
    ):
        assert answer.status == 403
        assert "sessions.enabled" in answer.json()["error"]["message"]
    assert (await site.post(CHAT, {"messages": [user("x")]})).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        ({"session_id": "../x"}, {}, "letters, digits"),
        ({"session_id": "a" * 129}, {}, "1 to 128"),
        ({"session_id": 7}, {}, "expected a string"),
        ({"session_id": "a"}, {"X_Session_Id": "b"}, "names another session"),
        ({"session_id": "a", "n": 2}, {}, "one answer"),
    ],
)
async def test_what_cannot_be_meant_is_refused(site: Site, body: Any, headers: dict[str, str], said: str) -> None:
    """400 with the field; nothing is kept."""
    answer = await site.post(CHAT, {"messages": [user("x")], **body}, **headers)
    assert answer.status == 400
    assert said in answer.json()["error"]["message"]
    assert (await site.get("/v1/sessions")).json()["data"] == []


async def test_a_repeated_request_is_one_turn(site: Site) -> None:
    """What an idempotency key finds again was kept the first time."""
    for _ in range(2):
        await say(site, "one", Idempotency_Key="k")
    assert len(await messages(site)) == 2


def test_what_was_said_comes_before_what_is_new() -> None:
    """Files count on; a new system message takes the place of an earlier one, else the last one stays."""
    picture = {"role": "user", "content": [{"type": "media", "media": 0}]}
    turns = [Turn([system("be kind"), picture, said("a cat")], (b"1",)), Turn([picture, said("a dog")], (b"2",))]
    chat = joined(turns, Chat(messages=[picture], media=(b"3",)))
    assert chat.media == (b"1", b"2", b"3")
    assert chat.messages[0] == system("be kind")
    assert [m["content"][0]["media"] for m in chat.messages if m["role"] == "user"] == [0, 1, 2]
    chat = joined(turns, Chat(messages=[system("be brief"), user("and now?")]))
    assert [m["content"] for m in chat.messages if m["role"] == "system"] == ["be brief"]
    assert joined([], Chat(messages=[user("x")])).messages == [user("x")]


def test_the_oldest_turns_are_left_out_where_the_context_is_small() -> None:
    """As many as it takes; what is new is never cut."""
    turns = [Turn([user(f"{number}" * 100), said("x" * 100)]) for number in range(9)]
    new = Chat(messages=[user("n" * 90)], max_tokens=50)
    for context, kept in ((10_000, 9), (250, 2), (170, 1), (20, 0)):
        assert len(joined(turns, new, context).messages) == 2 * kept + 1, context
    assert joined(turns, new, 250).messages[0]["content"].startswith("7")


def test_a_turn_is_what_was_sent_and_answered() -> None:
    """A begun answer is one message with what completes it."""
    turn = turn_of(Chat(messages=[user("x")]), TextResult("hello"))
    assert turn.messages == [user("x"), said("hello")]
    turn = turn_of(Chat(messages=[user("x"), said("he")]), TextResult("llo"))
    assert turn.messages == [user("x"), said("hello")]
