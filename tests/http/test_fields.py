"""Fields as data: the tables are whole, and what they refuse is refused."""

from typing import Any

import msgspec
import pytest

from velesio.errors import BadRequest, Unsupported
from velesio.http.fields import Fields, given, of, passed, refuse, refused, unless
from velesio.http.llamacpp import completion as llamacpp
from velesio.http.openai import chat as openai_chat
from velesio.http.openai import completions as openai_completions

UNITY = {
    "id_slot": -1,
    "n_keep": 0,
    "temperature": 0.2,
    "n_predict": -1,
    "typical_p": 1,
    "mirostat": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "seed": 0,
    "ignore_eos": False,
    "n_probs": 0,
    "cache_prompt": True,
    "grammar": "",
    "json_schema": "",
    "lora": [],
    "prompt": "x",
}
HI = {"messages": [{"role": "user", "content": "Hi"}]}


class Body(msgspec.Struct):
    size: int = 3
    names: list[str] = []
    role: str | None = None


def test_a_struct_lends_types_and_defaults() -> None:
    """Every field needs a note, and every note a field."""
    fields = of(Body, size="how large", names="who", role="what as")
    assert [(name, field.type, field.default) for name, field in fields.items()] == [
        ("size", int, 3),
        ("names", list[str], []),
        ("role", str | None, msgspec.UNSET),
    ]
    with pytest.raises(TypeError, match="names"):
        of(Body, size="x", role="x")
    with pytest.raises(TypeError, match="colour"):
        of(Body, size="x", names="x", role="x", colour="x")


TABLE: Fields = {
    "good": given(str, "taken"),
    "user": passed("nobody is told"),
    "audio": refused("sounds are"),
    "modes": refused("other modes are", unless(["text"])),
    "echo": refused("echoes are", instead="send a mirror", final=True),
}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"good": 5, "user": 5, "unknown": 5},
        {"audio": None},
        {"audio": {}},
        {"modes": ["text"]},
        {"modes": []},
        {"echo": False},
    ],
)
def test_what_asks_for_nothing_passes(raw: dict[str, Any]) -> None:
    """Clients send every field of their settings."""
    refuse(raw, TABLE)


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        ({"audio": {"voice": "x"}}, Unsupported, "Field 'audio': sounds are not supported; leave the field out"),
        (
            {"modes": ["text", "audio"]},
            Unsupported,
            "Field 'modes': other modes are not supported; leave the field out",
        ),
        ({"echo": True}, BadRequest, "Field 'echo': echoes are not supported; send a mirror"),
    ],
)
def test_what_is_refused_is_named(raw: dict[str, Any], kind: type[BadRequest], message: str) -> None:
    """A gap of this server is 501, a mistake 400."""
    with pytest.raises(BadRequest) as caught:
        refuse(raw, TABLE)
    assert (type(caught.value), caught.value.message, caught.value.param) == (kind, message, next(iter(raw)))


def test_defaults_in_a_body_ask_for_nothing() -> None:
    """Of games, and of OpenAI's clients."""
    (params,) = llamacpp.read(UNITY | {"t_max_predict_ms": -1, "adaptive_target": -1.0, "logprobs": False}).params
    assert params.grammar is None
    openai_completions.read({"prompt": "x", "echo": False, "best_of": 1, "suffix": "", "logprobs": False})
    idle: dict[str, Any] = {
        "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "modalities": ["text"],
        "logprobs": False, "functions": [], "function_call": "auto", "reasoning_budget_tokens": -1, "store": False,
    }  # fmt: skip
    openai_chat.read(HI | idle)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("web_search_options", {"user_location": {}}),
        ("reasoning_budget_message", "Enough."),
        ("echo", True),
    ],
)
def test_what_chats_do_not_do_is_refused(field: str, value: Any) -> None:
    """None of it is ignored."""
    with pytest.raises(BadRequest) as caught:
        openai_chat.read(HI | {field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(("field", "value"), [("echo", True), ("suffix", "end"), ("best_of", 2)])
def test_what_text_completions_do_not_do_is_refused(field: str, value: Any) -> None:
    """As in llama.cpp's server: 400."""
    with pytest.raises(BadRequest) as caught:
        openai_completions.read({"prompt": "x", field: value})
    assert caught.value.param == field
    assert not isinstance(caught.value, Unsupported)
