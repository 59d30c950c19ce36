"""What Ollama's clients are told of models."""

import time
from typing import Any

import pytest

from velesio.backends.base import ModelCard
from velesio.http.ollama.models import capabilities, details, names_of, running, show, stamp, tagged, tags
from velesio.states import ModelState

CARD = ModelCard(
    name="smollm2",
    backend="llama",
    capability="text",
    bytes=200,
    context=4096,
    created=1_700_000_000,
    meta={
        "architecture": "llama",
        "n_params": 134_515_008,
        "ftype": "Q4_1",
        "size": 100,
        "n_ctx_train": 8192,
        "n_embd": 576,
        "chat_template": "{{ messages }}",
    },
)
PICTURES = ModelCard(name="sd", backend="diffusion", capability="image")


def test_a_list_has_the_keys_of_ollama() -> None:
    """Text models, with the tag that Ollama gives to those without one."""
    (model,) = tags([CARD, PICTURES])["models"]
    assert list(model) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]
    assert (model["name"], model["size"], model["modified_at"]) == (
        "smollm2:latest",
        100,
        "2023-11-14T22:13:20.000000000Z",
    )
    assert len(bytes.fromhex(model["digest"])) == 32
    assert details(CARD) == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
    }


@pytest.mark.parametrize(
    ("asked", "names"),
    [("a", ["a"]), ("a:latest", ["a:latest", "a"]), ("a:7b", ["a:7b"]), ("org/a:latest", ["org/a:latest", "org/a"])],
)
def test_latest_is_the_name_itself(asked: str, names: list[str]) -> None:
    """A model that is really called so comes first."""
    assert names_of(asked) == names


def test_tags_are_added_once() -> None:
    """A name that has one keeps it."""
    assert (tagged("a"), tagged("a:7b")) == ("a:latest", "a:7b")


def test_times_have_nanoseconds() -> None:
    """RFC 3339 in UTC."""
    assert stamp(1_700_000_000_000_000_042) == "2023-11-14T22:13:20.000000042Z"


def test_only_loaded_models_run() -> None:
    """With the time of their end where a worker tells it, far away where it does not."""
    soon = time.time() + 60
    states = {"smollm2": ModelState(state="loaded", expires_at=soon), "sd": ModelState(state="sleeping")}
    (model,) = running([CARD, PICTURES], lambda card: states[card.name])["models"]
    assert list(model) == [
        "name",
        "model",
        "size",
        "digest",
        "details",
        "expires_at",
        "size_vram",
        "context_length",
    ]
    assert model["expires_at"] == stamp(int(soon * 1e9))
    (forever,) = running([CARD], lambda _: ModelState(state="loaded"))["models"]
    assert forever["expires_at"] > stamp(int((soon + 3600) * 1e9))


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({}, ["completion"]),
        ({"chat_template": "{% if tools %}"}, ["completion", "tools"]),
        ({"chat_template": "{{ tools }} <think>"}, ["completion", "tools", "thinking"]),
        ({"modalities": {"vision": True, "audio": False}}, ["completion", "vision"]),
        ({"generates": False}, ["embedding"]),
        ({"generates": True, "fills_gaps": True}, ["completion", "insert"]),
    ],
)
def test_capabilities_by_the_template(meta: dict[str, Any], found: list[str]) -> None:
    """What the file tells."""
    assert capabilities(ModelCard(name="m", backend="llama", capability="text", meta=meta)) == found


def test_show_has_the_facts_of_the_file() -> None:
    """In GGUF's own names."""
    shown = show(CARD)
    assert shown["model_info"]["general.parameter_count"] == 134_515_008
    assert shown["model_info"]["llama.context_length"] == 8192
    assert shown["template"] == "{{ messages }}"
    assert shown["modelfile"].splitlines()[1] == "FROM smollm2"
