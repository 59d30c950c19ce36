"""`/lora-adapters`, and what becomes of the scales."""

from typing import Any

import msgspec
import pytest

from tests.http.conftest import Site, sample
from tests.http.likeness import differences
from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, Unsupported
from velesio.http.llamacpp.lora import Scale, checked, listed
from velesio.http.text.generation import lora_of
from velesio.queue import adapters
from velesio.queue.broker import Broker

ADAPTERS = [{"id": number, "path": f"{number}.gguf", "scale": 1.0} for number in range(2)]
CARD = ModelCard(name="m", backend="llama", capability="text", meta={"lora": ADAPTERS})


def test_adapters_have_the_scales_in_force() -> None:
    """Those of the configuration, or those that were set; who was not named is off."""
    assert listed(CARD, None) == ADAPTERS
    assert [adapter["scale"] for adapter in listed(CARD, ((1, 0.5),))] == [0.0, 0.5]


def test_only_known_adapters_can_be_set() -> None:
    """The place of the mistake is told."""
    assert checked(CARD, [Scale(1, 0.5)]) == ((1, 0.5),)
    with pytest.raises(BadRequest) as caught:
        checked(CARD, [Scale(0, 1), Scale(2, 1)])
    assert caught.value.param == "[1].id"
    with pytest.raises(Unsupported):
        checked(msgspec.structs.replace(CARD, meta={}), [Scale(0, 1)])


@pytest.mark.parametrize(
    ("value", "scales"),
    [(None, None), ([], ()), ([{"id": 1, "scale": 0.5}, {"id": 0}], ((1, 0.5), (0, 0.0)))],
)
def test_scales_of_a_request(value: Any, scales: Any) -> None:
    """An empty list turns all off."""
    assert lora_of(value) == scales


@pytest.mark.parametrize(("value", "param"), [("x", "lora"), ([{}], "lora[0].id"), ([{"id": -1}], "lora[0].id")])
def test_bad_scales_are_named(value: Any, param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        lora_of(value)
    assert caught.value.param == param


async def test_scales_are_kept_for_every_gateway(broker: Broker) -> None:
    """At the broker, for a time; nothing set is nothing."""
    assert await adapters.read(broker, "m") is None
    await adapters.write(broker, "m", ((0, 0.5), (1, 2.0)))
    assert await adapters.read(broker, "m") == ((0, 0.5), (1, 2.0))
    assert 0 < await broker.command("TTL", broker.keys.adapters("m")) <= adapters.KEPT


async def test_a_model_without_adapters(site: Site) -> None:
    """An empty list, as captured; setting none is no error, a body that is no list is one."""
    assert not differences((await site.get("/lora-adapters")).body, sample("lora"))
    assert (await site.post("/lora-adapters", [])).json() == {"success": True}
    assert (await site.post("/lora-adapters", {})).status == 400
    assert (await site.post("/lora-adapters", [{"id": 0}])).status == 400
    assert (await site.post("/lora-adapters", [{"id": 0, "scale": 1}])).status == 501
