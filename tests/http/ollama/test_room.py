"""What is left out where the context is too small."""

from typing import Any

import pytest

from velesio.errors import ContextExceeded
from velesio.http.ollama.room import shortened, without_middle
from velesio.jobs import Chat, Completion

FULL = ContextExceeded.of(100, 50)


def turn(role: str, text: str = "x" * 100) -> dict[str, Any]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("count", "keep", "room", "kept"),
    [
        (5, 2, 5, [0, 1, 2, 3, 4]),
        (6, 2, 5, [0, 1, 3, 4, 5]),
        (6, 0, 2, [4, 5]),
        (6, -1, 2, [4, 5]),
        (6, 9, 3, [0, 1, 5]),
        (6, 1, 0, [0, 1, 2, 3, 4, 5]),
        (0, 1, 5, []),
    ],
)
def test_a_prompt_loses_its_middle(count: int, keep: int, room: int, kept: list[int]) -> None:
    """The first `keep` stay, and as many of the last ones as there is room for, one at least."""
    assert list(without_middle(range(count), keep, room)) == kept


def test_a_conversation_loses_its_oldest_messages() -> None:
    """Never those of the system, never the last one, and no result without its call."""
    system, question = turn("system", "s"), turn("user", "q")
    talk = [turn("user"), system, turn("assistant"), turn("tool", "t"), turn("user", "short"), question]
    nearly = ContextExceeded.of(100, 80)
    chat = shortened(Chat(messages=talk), nearly)
    assert chat is not None
    assert chat.messages == [system, turn("assistant"), turn("tool", "t"), turn("user", "short"), question]
    again = shortened(chat, nearly)
    assert again is not None
    assert again.messages == [system, turn("user", "short"), question]


def test_pictures_go_with_their_messages() -> None:
    """Those that are left are counted anew."""

    def seen(number: int) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "media", "media": number}, {"type": "text", "text": "?" * 50}]}

    chat = shortened(Chat(messages=[seen(0), turn("assistant", ""), seen(1)], media=(b"a", b"b")), FULL)
    assert chat is not None
    assert (chat.messages[-1], chat.media) == (seen(0), (b"b",))


@pytest.mark.parametrize(
    "params",
    [
        Completion(prompt="x"),
        Chat(messages=[turn("user")]),
        Chat(messages=[turn("system"), turn("user")]),
    ],
)
def test_nothing_can_be_left_out_of_one_message(params: Any) -> None:
    """Nor of a prompt, in this way."""
    assert shortened(params, FULL) is None
