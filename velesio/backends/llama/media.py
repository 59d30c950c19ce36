"""Media in prompts: the marks in chats and the markers in texts that stand for pictures and sounds. Pure."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from velesio.errors import BadRequest
from velesio.jobs import Chat

MARKER = "<__media__>"
"""Stands for the next file in a prompt."""


def marks_of(media: Sequence[bytes]) -> list[str]:
    """Texts that stand for files in a chat that is to be rendered; no other text has them by chance."""
    whole = hashlib.blake2b(b"".join(hashlib.blake2b(data).digest() for data in media), digest_size=8).hexdigest()
    return [f"<__media_{number}_{whole}__>" for number in range(len(media))]


def marked(chat: Chat) -> Chat:
    """The chat with a mark in place of each file, and its contents plain texts: mtmd itself knows what a model wants
    around a picture, whatever its template would write."""
    marks = marks_of(chat.media)

    def text_of(content: Any) -> Any:
        if not isinstance(content, list):
            return content
        return "".join(
            marks[part["media"]] if part.get("type") == "media" else part.get("text", "") for part in content
        )

    messages = [message | {"content": text_of(message.get("content"))} for message in chat.messages]
    return msgspec.structs.replace(chat, messages=messages)


def plain(text: str, media: Sequence[bytes]) -> str:
    """A rendered chat with the marker that clients know."""
    for mark in marks_of(media):
        text = text.replace(mark, MARKER)
    return text


def split_chat(text: str, media: Sequence[bytes]) -> list[str | bytes]:
    """A rendered chat with the files at the places of their marks.

    Raises:
        BadRequest: the template has left one out.
    """
    files = dict(zip(marks_of(media), media, strict=True))
    missing = [number for number, mark in enumerate(files) if mark not in text]
    if missing:
        raise BadRequest(f"the model's template leaves out the picture or sound {missing[0] + 1}", param="messages")
    parts = re.split("(" + "|".join(map(re.escape, files)) + ")", text)
    return [files.get(part, part) for part in parts if part]


def split_prompt(parts: Sequence[int | str], media: Sequence[bytes]) -> list[int | str | bytes]:
    """A prompt of texts and token ids with the files, in their order, at the places of the marker.

    Raises:
        BadRequest: there are more or fewer places than files.
    """
    places = sum(part.count(MARKER) for part in parts if isinstance(part, str))
    if places != len(media):
        raise BadRequest(
            f"the prompt has {places} media markers ({MARKER}) for {len(media)} pictures and sounds", param="prompt"
        )
    files, found = iter(media), list[int | str | bytes]()
    for part in parts:
        if isinstance(part, int):
            found.append(part)
            continue
        for number, text in enumerate(part.split(MARKER)):
            found += ([next(files)] if number else []) + ([text] if text else [])
    return found
