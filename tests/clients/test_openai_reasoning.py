"""Reasoning as OpenAI's Python client sees it: the demo model with a template that opens each answer's reasoning."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.end_to_end.process import Server, own_folder, running

TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content.split('</think>')[-1] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
MODEL = "smollm2-135m-instruct"
STORY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me a long story about a dragon."}],
    "temperature": 0,
    "max_tokens": 64,
}


@pytest.fixture(scope="module")
def thinker() -> Iterator[Server]:
    """A server whose model reasons as long as it may."""
    with own_folder() as folder:
        template = folder / "think.jinja"
        template.write_text(TEMPLATE)
        with running(Server("all", folder, f"backends.llama.chat_template={template}")) as server:
            yield server


@pytest.fixture
def client(thinker: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{thinker.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def reasoning_of(part: Any) -> str:
    return getattr(part, "reasoning_content", None) or ""


def test_a_budget_ends_the_reasoning(client: openai.OpenAI) -> None:
    """After so many tokens the answer begins; without one it may never."""
    endless = client.chat.completions.create(**STORY).choices[0].message
    short = client.chat.completions.create(**STORY, extra_body={"reasoning_budget_tokens": 5}).choices[0].message
    assert reasoning_of(endless)
    assert endless.content == ""
    assert 0 < len(reasoning_of(short)) < len(reasoning_of(endless))
    assert short.content


def test_no_effort_is_no_reasoning(client: openai.OpenAI) -> None:
    """The answer begins at once."""
    answer = client.chat.completions.create(**STORY, reasoning_effort="none").choices[0].message
    assert answer.content
    assert reasoning_of(answer) == ""


def test_reasoning_as_content(client: openai.OpenAI) -> None:
    """With the mark of its end, where the client wants all that the model says."""
    extra = {"reasoning_budget_tokens": 5, "reasoning_format": "none"}
    answer = client.chat.completions.create(**STORY, extra_body=extra).choices[0].message
    assert "</think>" in (answer.content or "")
    assert reasoning_of(answer) == ""


def test_reasoning_is_an_item_of_a_response(client: openai.OpenAI) -> None:
    """Before the message, whole and streamed."""
    asked: dict[str, Any] = {"model": MODEL, "input": STORY["messages"], "temperature": 0, "max_output_tokens": 64}
    extra = {"reasoning_budget_tokens": 5}
    whole = client.responses.create(**asked, extra_body=extra)
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.usage is not None
    assert whole.usage.output_tokens_details.reasoning_tokens > 0
    events = list(client.responses.create(**asked, extra_body=extra, stream=True))
    told = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    assert whole.output[0].type == "reasoning"
    assert [part.text for part in whole.output[0].content or []] == [told]


def test_reasoning_is_ended_while_it_goes_on(thinker: Server, client: openai.OpenAI) -> None:
    """By `/v1/chat/completions/control`: what follows is the answer."""
    thought, text, answer = "", "", None
    for number, chunk in enumerate(client.chat.completions.create(**STORY, stream=True)):
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        thought += reasoning_of(delta)
        text += delta.content or ""
        if number == 8:
            order = {"id": chunk.id, "action": "reasoning_end"}
            answer = thinker.post("/v1/chat/completions/control", order)
    assert answer == (200, {"success": True})
    assert thought
    assert text
