"""`/props`: the captured shape."""

import json

import pytest

from tests.http.conftest import Site, sample
from tests.http.likeness import differences, json_of
from velesio.backends.base import ModelCard
from velesio.http.props import abilities, properties


def test_properties_are_the_sample() -> None:
    """Same keys in the same order, same defaults; paths and the page are the other server's own."""
    captured = json.loads(sample("props"))
    card = ModelCard(
        name="smollm2",
        backend="llama",
        capability="text",
        slots=2,
        context=2048,
        meta={
            "ftype": "Q4_1",
            "chat_template": captured["chat_template"],
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
        },
    )
    free = frozenset({"model_path", "media_marker", "endpoint_props", "ui"})
    assert not differences(json_of(properties(card)), sample("props"), free=free)
    assert len(properties(card)["default_generation_settings"]["params"]) == 42


@pytest.mark.parametrize("name", ["supports_tools", "supports_tool_calls", "supports_preserve_reasoning"])
def test_a_template_shows_what_it_can_write(name: str) -> None:
    """By the names in it."""
    rich = "{% if tools %}{{ tools | tojson }}{% endif %}{{ m.tool_calls }}{{ m.reasoning_content }}"
    assert abilities(rich)[name]
    assert not abilities("{{ message['content'] }}")[name]


async def test_both_methods(site: Site) -> None:
    """POST is LLMUnity's way to read; it may come without a body."""
    for body in ({"stream": False}, b""):
        answer = (await site.post("/props", body)).json()
        assert answer["success"] is True
        assert answer["default_generation_settings"]["n_ctx"] == 4096
    answer = (await site.get("/props?model=tiny")).json()
    assert (answer["model_alias"], answer["default_generation_settings"]["n_ctx"]) == ("tiny", 8)
    assert (await site.get("/props?model=none")).status == 404
