"""`/tokenize`, `/detokenize`, `/apply-template` and counting: the captured shapes, and the same over a socket."""

from typing import Any

import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, Site, bodies, sample
from tests.http.likeness import differences, json_of
from velesio.errors import BadRequest
from velesio.http.llamacpp import tokens
from velesio.http.openai import counting
from velesio.http.wire import encode, parse_object
from velesio.jobs import DetokenizedResult, PromptResult, TokensResult

HI = {"messages": [{"role": "user", "content": "Hi"}]}


def test_pieces_are_the_sample() -> None:
    """A token that holds a part of a character is a list of bytes."""
    asked = tokens.read_tokenize({"content": "Hello á 🤗", "with_pieces": True})
    found = TokensResult(
        (19556, 216, 5415, 15107, 114, 241), (b"Hello", b" ", "á".encode(), b" \xf0\x9f", b"\xa4", b"\x97")
    )
    assert not differences(json_of(tokens.write_tokens(asked, "m", "", [found])), sample("tokenize"))


def test_plain_tokens_are_ids() -> None:
    """Without pieces."""
    asked = tokens.read_tokenize({"content": "x"})
    assert tokens.write_tokens(asked, "m", "", [TokensResult((1, 2))]) == {"tokens": (1, 2)}


def test_text_again_is_the_sample() -> None:
    """One key."""
    asked = tokens.read_detokenize({"tokens": [19556]})
    answer = tokens.write_text(asked, "m", "", [DetokenizedResult("Hello")])
    assert not differences(json_of(answer), sample("detokenize"))


def test_a_prompt_is_the_sample() -> None:
    """One key."""
    asked = counting.rendering(HI)
    text = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    answer = tokens.write_prompt(asked, "m", "", [PromptResult(text, 31)])
    assert not differences(json_of(answer), sample("apply_template"))
    assert counting.write_count(asked, "m", "", [PromptResult(text, 31)]) == {
        "input_tokens": 31,
        "object": "response.input_tokens",
    }


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"content": 5}, "content"),
        ({"content": [1, {}]}, "content[1]"),
        ({"content": "x", "add_special": "yes"}, "add_special"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        tokens.read_tokenize(raw)
    assert caught.value.param == param


def test_a_token_below_zero_is_named() -> None:
    """By its place."""
    with pytest.raises(BadRequest) as caught:
        tokens.read_detokenize({"tokens": [1, -1]})
    assert caught.value.param == "tokens[1]"


@settings(max_examples=100, deadline=None)
@given(bodies([tokens.TokenizeBody, tokens.DetokenizeBody], content=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense."""
    for read in (tokens.read_tokenize, tokens.read_detokenize):
        try:
            read(parse_object(encode(raw)))
        except BadRequest:
            continue


async def test_there_and_back_over_the_wire(site: Site) -> None:
    """Mixed content, pieces, nothing at all, and the text again."""
    found = (await site.post("/tokenize", {"content": [65, "bc"], "with_pieces": True})).json()["tokens"]
    assert found == [{"id": 65, "piece": "A"}, {"id": 98, "piece": "b"}, {"id": 99, "piece": "c"}]
    assert (await site.post("/tokenize", {})).json() == {"tokens": []}
    assert (await site.post("/detokenize", {})).json() == {"content": ""}
    assert (await site.post("/detokenize", {"tokens": [65, 98, 99], "stream": False})).json() == {"content": "Abc"}
    answer = await site.post("/detokenize", {"tokens": [2**31 - 1]})
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_chat_as_a_prompt_over_the_wire(site: Site) -> None:
    """And how long it is; errors of the counting routes are OpenAI's."""
    answer = await site.post("/apply-template", HI)
    assert answer.json() == {"prompt": "user: Hi\nassistant: "}
    for path in ("/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"):
        assert (await site.post(path, HI)).json() == {"input_tokens": 20, "object": "response.input_tokens"}
        assert (await site.post(path, {})).json()["error"]["param"] == "messages"
    assert (await site.post("/apply-template", {})).json()["error"]["code"] == 400
