"""The model that a request means, as far as its key may use it."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.http.conftest import StartSite
from velesio.backends.base import ModelCard, ModelSpec
from velesio.config import ServerSection
from velesio.errors import Forbidden, ModelNotFound, NoWorker, VelesioError
from velesio.http.access.keys import LOCAL, Credential
from velesio.http.finding import choose_model, unknown_model
from velesio.jobs import Capability


class Cards:
    """A registry of fixed cards."""

    def __init__(self, cards: Iterable[ModelCard]) -> None:
        self._cards = list(cards)

    def cards(self) -> list[ModelCard]:
        return self._cards

    def find(self, name: str, capability: Capability | None = None) -> ModelCard:
        for card in self._cards:
            if name in {card.name, *card.aliases} or (not name and card.capability == capability):
                return card
        raise ModelNotFound(f"known: {[card.name for card in self._cards]}")


CARDS = Cards(
    [
        ModelCard(name="secret", backend="echo", capability="text"),
        ModelCard(name="painter", backend="echo", capability="image"),
        ModelCard(name="parrot", backend="echo", capability="text", aliases=("bird",)),
    ]
)
ONLY_PARROT = Credential("k", models=("parr*",))


@pytest.mark.parametrize(
    ("credential", "name", "chosen"),
    [
        (LOCAL, "", "secret"),
        (LOCAL, "secret", "secret"),
        (ONLY_PARROT, "", "parrot"),
        (ONLY_PARROT, "bird", "parrot"),
        (Credential("k", models=("bird",)), "parrot", "parrot"),
    ],
)
def test_a_key_chooses_among_its_models(credential: Credential, name: str, chosen: str) -> None:
    """An empty name is the first that the key may use."""
    assert choose_model(CARDS, credential, name, "text").name == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("credential", "name", "error"),
    [
        (ONLY_PARROT, "secret", Forbidden),
        (ONLY_PARROT, "parot", ModelNotFound),
        (Credential("k", models=("none",)), "", NoWorker),
    ],
)
def test_a_key_hears_of_no_other_models(credential: Credential, name: str, error: type[VelesioError]) -> None:
    """Refusals name only what the key may use."""
    with pytest.raises(error) as caught:
        choose_model(CARDS, credential, name, "text")  # type: ignore[arg-type]
    assert "painter" not in caught.value.message
    assert "secret" not in caught.value.message.replace("'secret'", "")


def test_an_unknown_model_gets_the_nearest_name() -> None:
    """And a list of those there are."""
    message = unknown_model("parot", CARDS.cards()).message
    assert "Did you mean 'parrot'?" in message
    assert "secret, painter, parrot, bird" in message


async def test_nobody_serves_a_model(start_site: StartSite) -> None:
    """503 with Retry-After; after `loading_wait` for a worker that may come."""
    site = await start_site(specs=(), server=ServerSection(loading_wait=0.2))
    response = await site.post("/completion", {"prompt": "x"})
    assert response.status == 503
    assert "Retry-After" in response.headers


async def test_a_worker_that_comes_in_time_is_waited_for(start_site: StartSite) -> None:
    """`loading_wait` bridges a start."""
    first = await start_site(specs=(), server=ServerSection(loading_wait=10))
    asking = asyncio.create_task(first.post("/completion", {"prompt": "one two"}))
    await asyncio.sleep(0)
    await start_site(specs=(ModelSpec(name="parrot"),))
    assert (await asking).json()["content"] == "one two"
