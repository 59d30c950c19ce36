"""Models as Anthropic's SDKs read them."""

from tests.http.conftest import Site
from velesio.backends.base import ModelCard
from velesio.http.anthropic.models import listing

VERSION = {"anthropic_version": "2023-06-01"}


def test_pictures_are_not_listed() -> None:
    """Nothing there can draw; a list may be empty."""
    assert listing([ModelCard(name="sd", backend="diffusion", capability="image")]) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_times_are_rfc_3339() -> None:
    """Of the model's file."""
    card = ModelCard(name="m", backend="llama", capability="text", created=1_700_000_000)
    assert listing([card])["data"][0]["created_at"] == "2023-11-14T22:13:20Z"


async def test_its_sdks_read_the_list_of_models(site: Site) -> None:
    """In its shape, on one page; one of them by an alias as well."""
    listed = (await site.get("/v1/models", **VERSION)).json()
    assert [model["id"] for model in listed["data"]] == ["parrot", "tiny"]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "parrot", "tiny")
    one = (await site.get("/v1/models/bird", **VERSION)).json()
    assert list(one) == ["type", "id", "display_name", "created_at"]
    assert one == listed["data"][0]
    assert "object" in (await site.get("/v1/models")).json()


async def test_its_sdks_are_refused_in_their_shape(site: Site) -> None:
    """A model that there is none of, with the id that they read; others get OpenAI's shape."""
    answer = await site.get("/v1/models/none", **VERSION)
    assert answer.status == 404
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", "not_found_error")
    assert answer.headers["request-id"] == answer.headers["X-Request-ID"]
    assert (await site.get("/v1/models/none")).json()["error"]["code"] == "model_not_found"
