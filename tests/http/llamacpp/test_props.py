"""`/props`: the captured shape."""

import json

import pytest

from tests.http.conftest import SPECS, Site, StartSite, sample
from tests.http.likeness import differences, json_of
from velesio.backends.base import ModelCard
from velesio.http.llamacpp.props import abilities, properties


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
    for query in ("?model=tiny", "?model=parrot"):
        assert "role" not in (await site.get(f"/props{query}")).json()
    answer = (await site.get("/props?model=tiny")).json()
    assert (answer["model_alias"], answer["default_generation_settings"]["n_ctx"]) == ("tiny", 8)
    assert (await site.get("/props?model=none")).status == 404


async def test_one_model_is_no_router(start_site: StartSite) -> None:
    """Nothing is said of others."""
    site = await start_site(specs=SPECS[:1])
    props = (await site.get("/props")).json()
    assert ("role" in props, props["is_sleeping"]) == (False, False)


async def test_several_models_are_a_router(site: Site) -> None:
    """As clients know llama.cpp's multi-model mode: by the role."""
    answer = (await site.get("/props")).json()
    assert list(answer)[:4] == ["role", "max_instances", "models_autoload", "default_generation_settings"]
    assert (answer["role"], answer["max_instances"], answer["models_autoload"]) == ("router", 2, True)
    assert {"model_alias", "model_path", "ui_settings", "build_info", "cors_proxy_enabled"} <= answer.keys()
