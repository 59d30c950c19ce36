"""Pictures and sounds: bytes, what they are, who can take them."""

import pytest

from tests.http.conftest import Site, StartSite
from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, Unsupported
from velesio.http.media import MOST, Media, check, sense_of
from velesio.jobs import Chat, Completion, Embed, Params, Render, Tokenize

PNG, WAV = b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WAVEfmt "
SEEING = ModelCard(name="m", backend="b", capability="text", meta={"modalities": {"vision": True, "audio": False}})
BLIND = ModelCard(name="m", backend="b", capability="text")


@pytest.mark.parametrize(
    ("data", "sense"),
    [
        (PNG, "vision"),
        (b"\xff\xd8\xff\xe0", "vision"),
        (b"unknown", "vision"),
        (b"", "vision"),
        (WAV, "audio"),
        (b"ID3\4", "audio"),
        (b"\xff\xfb\x90", "audio"),
        (b"fLaC", "audio"),
        (b"\0\0\0\x18ftypmp42", "video"),
    ],
)
def test_files_tell_what_they_are(data: bytes, sense: str) -> None:
    """By their first bytes."""
    assert sense_of(data) == sense


@pytest.mark.parametrize(
    ("card", "params", "able"),
    [
        (BLIND, Completion(prompt="x"), True),
        (BLIND, Tokenize(content="x"), True),
        (BLIND, Completion(prompt="x", media=(PNG,)), False),
        (BLIND, Embed(inputs=("x",), media=(PNG,)), False),
        (SEEING, Completion(prompt="x", media=(PNG, PNG)), True),
        (SEEING, Chat(messages=[], media=(WAV,)), False),
        (SEEING, Render(Chat(messages=[], media=(PNG,))), True),
        (BLIND, Render(Chat(messages=[], media=(PNG,))), False),
    ],
)
def test_a_model_takes_what_its_card_says(card: ModelCard, params: Params, able: bool) -> None:
    """A card without modalities is one of a model that reads only."""
    if able:
        check(card, params)
    else:
        with pytest.raises(Unsupported, match="cannot"):
            check(card, params)


def test_there_are_not_too_many() -> None:
    """A prompt has a bound."""
    media = Media()
    assert [media.add(PNG, "x") for _ in range(MOST)][-1] == {"type": "media", "media": MOST - 1}
    with pytest.raises(BadRequest):
        media.add(PNG, "x")
    assert len(media.files) == MOST


async def test_a_picture_for_a_blind_model_is_refused(site: Site) -> None:
    """501 in each family's shape, and an SDK does not try again."""
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    answer = await site.post("/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    assert (answer.status, answer.json()["error"]["param"]) == (501, "messages")
    assert answer.headers["X-Should-Retry"] == "false"
    prompt = {"prompt_string": "<__media__>", "multimodal_data": ["iVBORw0KGgo="]}
    answer = await site.post("/completion", {"prompt": prompt})
    assert answer.json()["error"]["type"] == "not_supported_error"


async def test_background_jobs_are_checked_as_well(start_site: StartSite) -> None:
    """Before they are queued."""
    site = await start_site()
    prompt = {"prompt_string": "<__media__>", "multimodal_data": ["iVBORw0KGgo="]}
    answer = await site.post("/v1/jobs", {"url": "/completion", "body": {"prompt": prompt}})
    assert answer.status == 501
