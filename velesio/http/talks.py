"""Talks: a chat that names a session goes on from what was said there before, and is kept for the next.

A session is asked for with each request, by `X-Session-Id` or, in OpenAI's chats, `session_id`; whoever names none is
not remembered. The client sends only what is new. A turn is kept when its answer is whole.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import web

from velesio.errors import BadRequest, Forbidden, SessionFull, VelesioError
from velesio.http.gateway import CREDENTIAL, GATEWAY, TALK
from velesio.http.text.hearing import Hearing
from velesio.http.wire import bad_field
from velesio.jobs import Chat, Result, TextResult
from velesio.queue.sessions import Sessions, Turn, packed

log = structlog.get_logger("velesio.http")

HEADER = "X-Session-Id"
FIELD = "session_id"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_CHARACTERS = 3
"""Of a token, at least: what is taken to fit does, in most languages."""


def sessions_of(request: web.Request) -> Sessions:
    """The sessions of the request's key; nobody else's can be reached.

    Raises:
        Forbidden: the server keeps none.
    """
    gateway, credential = request.app[GATEWAY], request[CREDENTIAL]
    if not gateway.sessions.enabled:
        raise Forbidden("this server keeps no sessions (sessions.enabled); send the whole conversation")
    return Sessions(gateway.broker, f"{credential.tenant}\0{credential.id}", gateway.sessions)


def checked(name: str) -> str:
    """The name of a session.

    Raises:
        BadRequest: it is none.
    """
    if not _NAME.fullmatch(name):
        raise BadRequest("a session's id has 1 to 128 letters, digits and any of . _ : @ -", param=FIELD)
    return name


def name_of(request: web.Request, field: Any = None) -> str:
    """The session that a request names; empty: none. `field` is the body's.

    Raises:
        BadRequest: it cannot be a name, or header and body name two.
    """
    header = request.headers.get(HEADER, "")
    if field is not None and not isinstance(field, str):
        raise bad_field(FIELD, "expected a string")
    if field and header and field != header:
        raise bad_field(FIELD, f"is {field[:40]!r}, but the header {HEADER} names another session; send one of them")
    return checked(field or header) if field or header else ""


class Talk:
    """A turn of a session that is under way."""

    def __init__(self, sessions: Sessions, name: str, chat: Chat) -> None:
        """`chat` is what the client sent."""
        self._sessions = sessions
        self._name = name
        self._chat = chat

    async def keep(self, result: Result) -> None:
        """Keep the turn with its answer. That it cannot be kept is no reason to withhold the answer."""
        if not isinstance(result, TextResult):
            return
        try:
            await self._sessions.add(self._name, turn_of(self._chat, result))
        except VelesioError as error:
            log.warning("a turn of a session is not kept", code=error.code)


async def resumed(request: web.Request, chats: Sequence[Chat], field: Any = None, *, model: str = "") -> list[Chat]:
    """The chats of a request as they are asked: with what was said before, if it names a session.

    Raises:
        BadRequest: the session's name cannot be one; a session has one answer.
        SessionFull: nothing more fits, and the server forgets nothing of a session.
        Forbidden: the server keeps no sessions.
    """
    name = name_of(request, field)
    if not name:
        return list(chats)
    sessions, section = sessions_of(request), request.app[GATEWAY].sessions
    if len(chats) != 1:
        raise bad_field("n", "a session has one answer to each question")
    (chat,) = chats
    turns = await sessions.turns(name)
    if section.when_full == "refuse" and _is_full(turns, chat, section.max_turns, section.max_bytes):
        raise SessionFull(f"the session {name!r} is full; DELETE /v1/sessions/{name}, or go on under another name")
    request[TALK] = Talk(sessions, name, chat)
    return [joined(turns, chat, _context(request, model))]


def _is_full(turns: Sequence[Turn], chat: Chat, most: int, longest: int) -> bool:
    size = sum(len(packed(turn)) for turn in turns) + len(packed(Turn(chat.messages, chat.media)))
    return len(turns) >= most or size > longest


def _context(request: web.Request, model: str) -> int:
    """Tokens of the model's context; 0: not known."""
    try:
        return request.app[GATEWAY].registry.find(model, "text").context
    except VelesioError:
        return 0  # the request is refused for it elsewhere


def joined(turns: Sequence[Turn], chat: Chat, context: int = 0) -> Chat:
    """A chat that goes on after `turns`. Its own system messages take the place of earlier ones. Of a long session the
    oldest turns are left out, as many as it takes to fit into `context` tokens (0: as many as there are)."""
    turns = _fitting(turns, chat, context)
    systems: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    media: list[bytes] = []
    for turn in (*turns, Turn(chat.messages, chat.media)):
        own = [_shifted(message, len(media)) for message in turn.messages]
        systems = [message for message in own if message["role"] == "system"] or systems
        messages += [message for message in own if message["role"] != "system"]
        media += turn.media
    return msgspec.structs.replace(chat, messages=[*systems, *messages], media=tuple(media))


def _fitting(turns: Sequence[Turn], chat: Chat, context: int) -> Sequence[Turn]:
    if not context:
        return turns
    answer = chat.max_tokens if chat.max_tokens >= 0 else context // 4
    room = max(0, context - answer) * _CHARACTERS - _length(chat.messages)
    start = len(turns)
    while start and room >= (taken := _length(turns[start - 1].messages)):
        room -= taken
        start -= 1
    return turns[start:]


def _length(messages: Sequence[dict[str, Any]]) -> int:
    """Characters that a template makes of them, about."""
    texts = (str(message.get(name) or "") for message in messages for name in ("content", "tool_calls"))
    return sum(map(len, texts)) + 16 * len(messages)


def _shifted(message: dict[str, Any], by: int) -> dict[str, Any]:
    """With its files counted from another one on."""
    content = message.get("content")
    if not by or not isinstance(content, list):
        return message
    parts = [part | {"media": part["media"] + by} if part.get("type") == "media" else part for part in content]
    return message | {"content": parts}


def turn_of(chat: Chat, result: TextResult) -> Turn:
    """What is kept: what was asked, and what was answered, without the reasoning."""
    tools = () if chat.tool_choice == "none" else chat.tools
    answer = Hearing(tools).message(result, 0)
    answer.pop("reasoning_content", None)
    messages = list(chat.messages)
    if messages[-1]["role"] == "assistant" and chat.continue_final is not False:
        begun = messages.pop()
        answer = begun | answer | {"content": str(begun.get("content") or "") + answer["content"]}
    return Turn([*messages, answer], chat.media)
