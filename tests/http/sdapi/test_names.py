"""Lists that the gateway holds itself, against the backend that they are about; names of models; names on requests."""

import pytest

from tests.http.conftest import Site
from velesio.backends.base import ModelCard
from velesio.http.sdapi import controlnet, names
from velesio.http.sdapi.models import described, meant, title


def test_samplers_and_schedules_are_the_backends() -> None:
    """Names, order and aliases."""
    samplers = pytest.importorskip("velesio.backends.diffusion.samplers")
    assert list(names.SAMPLERS) == [each.name for each in samplers.SAMPLERS]
    for each in samplers.SAMPLERS:
        assert set(names.sampler(each.name)["aliases"]) <= set(each.aliases)
    assert list(names.SCHEDULERS) == [each.label for each in samplers.SCHEDULES]
    for each in samplers.SCHEDULES:
        assert names.scheduler(each.label)["name"] == each.name
    for name in names.SAMPLERS:
        for label in names.SCHEDULERS:
            assert samplers.choose(name, label).sampler.name == name


def test_preprocessors_are_the_backends() -> None:
    """Names, numbers and limits."""
    preprocess = pytest.importorskip("velesio.backends.diffusion.preprocess")
    there = {
        name: tuple((each.name, each.default, each.low, each.high, each.step) for each in found.sliders)
        for name, found in preprocess.PREPROCESSORS.items()
    }
    assert there == controlnet.MODULES


def test_upscalers_are_the_backends() -> None:
    """Those that need no files."""
    upscale = pytest.importorskip("velesio.backends.diffusion.upscale")
    assert list(names.LATENT_MODES) == list(upscale.LATENT_MODES)
    assert set(names.PLAIN_UPSCALERS) == {upscale.NONE, upscale.LANCZOS, upscale.NEAREST}


def card(name: str, file: str = "", *aliases: str) -> ModelCard:
    return ModelCard(
        name=name, backend="echo", capability="image", aliases=aliases, meta={"file": file} if file else {}
    )


CARDS = [card("dreams", "dreams.safetensors"), card("soft dreams", "v2.ckpt", "soft"), card("other")]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("dreams", "dreams"),
        ("dreams.safetensors", "dreams"),
        ("Dreams.safetensors [0123456789]", "dreams"),
        ("sd\\dreams.safetensors", "dreams"),
        ("v2.ckpt", "soft dreams"),
        ("SOFT", "soft dreams"),
        ("oth", "other"),
        ("e", "e"),
        ("nobody", "nobody"),
    ],
)
def test_models_by_their_names(name: str, model: str) -> None:
    """Title, file, name or alias; a part of a title that only one has; else as it is."""
    assert meant(CARDS, name) == model


def test_titles_lead_back_to_their_models() -> None:
    """What a list shows, a request may name."""
    assert [meant(CARDS, title(each)) for each in CARDS] == [each.name for each in CARDS]
    assert [meant(CARDS, described(each)["model_name"]) for each in CARDS] == [each.name for each in CARDS]


@pytest.mark.parametrize("name", ["version", "settings", "model_list", "module_list", "control_types"])
async def test_controlnets_routes_answer(site: Site, name: str) -> None:
    """Also where nothing draws."""
    answer = await site.get(f"/controlnet/{name}")
    assert answer.status == 200
    assert isinstance(answer.json(), dict)
