"""Pictures, seen by a tiny model with random weights: what it says about them means nothing, but it depends on them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import Desk, Subject
from tests.backends.llama import tiny
from tests.backends.llama.seen import BLUE, PICTURE, RED, TEMPLATE
from tests.pictures.plain import png
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.llama import LlamaBackend, backend
from velesio.backends.llama.media import MARKER, marked, marks_of, plain, split_chat, split_prompt
from velesio.errors import BadRequest, ConfigError, ModelLoadFailed
from velesio.jobs import Chat, Completed, Completion, Failed, Progress, PromptResult, Render, Sampling, TextResult

GREEDY = Sampling(temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    tiny.decoder(place / "eyes.gguf", text={"tokenizer.chat_template": TEMPLATE})
    tiny.projector(place / "mmproj.gguf")
    tiny.projector(place / "other.gguf", seed=6)
    return place


def seeing(folder: Path, **options: Any) -> LlamaBackend:
    settings = {"mmproj": "mmproj.gguf", "context": 256, "slots": 3} | options
    return backend(
        Catalogue(models_dir=folder, specs=(ModelSpec(name="eyes", path=Path("eyes.gguf"), options=settings),))
    )


def desk_of(folder: Path, **options: Any) -> Desk:
    made = seeing(folder, **options)
    return Desk(Subject(backend=made, card=made.models()[0], params=look, endless=look(0), too_much=look(0)))


def look(number: int, *media: bytes, **fields: Any) -> Completion:
    fields = {"sampling": GREEDY, "max_tokens": 12} | fields
    return Completion(prompt=f"{MARKER * len(media)} {number}?", media=media, **fields)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Desk]:
    desk = desk_of(folder)
    yield desk
    desk.engine.close()


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    yield shared
    shared.clear()


def text(desk: Desk, params: Any) -> TextResult:
    final = desk.run(params)
    assert isinstance(final, Completed), final
    assert isinstance(final.result, TextResult)
    return final.result


def refusal(desk: Desk, params: Any) -> str:
    final = desk.run(params)
    assert isinstance(final, Failed), final
    return final.message


def test_the_card_says_what_the_model_sees(folder: Path) -> None:
    """Without loading anything; a model without a projector sees nothing."""
    [card] = seeing(folder).models()
    assert card.meta["modalities"] == {"vision": True, "audio": False}
    [blind] = seeing(folder, mmproj="").models()
    assert blind.meta["modalities"] == {"vision": False, "audio": False}
    assert blind.bytes < card.bytes


def test_an_answer_depends_on_the_picture(desk: Desk) -> None:
    """The same picture gives the same answer, another one another, none a third; its tokens are counted."""
    red, blue, none = (text(desk, look(1, *media)) for media in ((RED,), (BLUE,), ()))
    assert text(desk, look(1, RED)).tokens == red.tokens
    assert len({red.tokens, blue.tokens, none.tokens}) == 3
    assert red.usage.prompt_tokens == none.usage.prompt_tokens + PICTURE
    assert (red.usage.cached_tokens, red.usage.completion_tokens) == (0, 12)


def test_pictures_have_their_places(desk: Desk) -> None:
    """Which comes first matters, and each is computed."""
    one = text(desk, look(1, RED, BLUE))
    assert one.tokens != text(desk, look(1, BLUE, RED)).tokens
    assert one.usage.prompt_tokens == text(desk, look(1)).usage.prompt_tokens + 2 * PICTURE


def test_the_projector_matters(folder: Path, desk: Desk) -> None:
    """Other eyes see something else."""
    other = desk_of(folder, mmproj="other.gguf")
    try:
        assert text(other, look(1, RED)).tokens != text(desk, look(1, RED)).tokens
    finally:
        other.engine.close()


def test_it_sees_the_same_among_others(desk: Desk) -> None:
    """Alone, and while others read and write; those are not disturbed by it either."""
    asked = (look(1, RED), look(2, BLUE, RED), look(3))
    alone = [text(desk, params).tokens for params in asked]
    works = [desk.start(params) for params in asked]
    assert [final.result.tokens for final in desk.finish(*works)] == alone


def test_pictures_that_have_no_room_wait(folder: Path) -> None:
    """In a pool of cells that is too small for all at once, the younger ones are computed anew when there is room.
    Who else is in the pool shows in the last bits, and so, with random weights, soon in the words."""
    desk = desk_of(folder, kv_unified=True, cells=256, slots=6, context=128)
    try:
        asked = [look(number, RED, BLUE, max_tokens=60) for number in range(6)]
        alone = [text(desk, params).tokens for params in asked]
        works = [desk.start(params) for params in asked]
        together = [final.result.tokens for final in desk.finish(*works)]  # type: ignore[union-attr]
        assert [len(tokens) for tokens in together] == [60] * 6
        assert [tokens[:6] for tokens in together] == [tokens[:6] for tokens in alone]
    finally:
        desk.engine.close()


def test_texts_are_never_taken_for_pictures(desk: Desk) -> None:
    """What was seen is not reused for others, while texts still are."""
    long = "The same beginning of many words, which are kept for the next one who asks. "
    seen = Completion(prompt=f"{long}{MARKER} what?", media=(RED,), sampling=GREEDY, max_tokens=4)
    first = text(desk, seen)
    plain_text = Completion(prompt=long + "what?", sampling=GREEDY, max_tokens=4)
    assert text(desk, plain_text).usage.cached_tokens == 0
    assert text(desk, plain_text).usage.cached_tokens > 32
    again = text(desk, seen)
    assert (again.usage.cached_tokens, again.tokens) == (0, first.tokens)


def test_chats_have_pictures(desk: Desk) -> None:
    """At their places in the messages, whatever the text around them says."""

    def chat(*parts: Any, media: tuple[bytes, ...] = (RED,)) -> Chat:
        message = {"role": "user", "content": list(parts)}
        return Chat(messages=[message], media=media, sampling=GREEDY, max_tokens=8)

    words, picture = {"type": "text", "text": f"What is {MARKER}?"}, {"type": "media", "media": 0}
    first = text(desk, chat(words, picture))
    assert first.prompt == f"[user] What is {MARKER}?{MARKER}\n[assistant] "
    assert text(desk, chat(words, picture, media=(BLUE,))).tokens != first.tokens
    assert text(desk, chat(picture, words)).tokens != first.tokens
    shown = desk.run(Render(chat(words, picture)))
    assert isinstance(shown, Completed)
    assert isinstance(shown.result, PromptResult)
    assert shown.result.prompt == first.prompt


def test_progress_counts_pictures(desk: Desk) -> None:
    """Each step further, up to the whole prompt."""
    work = desk.start(look(1, RED, BLUE, return_progress=True), stream=True)
    desk.finish(work)
    done = [event.done for event in desk.of(work) if isinstance(event, Progress)]
    assert done == sorted(done)
    assert done[-1] >= 2 * PICTURE


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (Completion(prompt="what?", media=(RED,)), "the prompt has 0 media markers (<__media__>) for 1 pictures"),
        (Completion(prompt=f"{MARKER}{MARKER}?", media=(RED,)), "has 2 media markers"),
        (Completion(prompt=f"what is {MARKER}", media=(RED,)), "ends with a picture"),
        (Completion(prompt=f"{MARKER}?", media=(b"no picture",)), "send PNG, JPEG, GIF or BMP"),
        (Completion(prompt=f"{MARKER}?", media=(RED[:40],)), "cannot be read"),
        (Completion(prompt=f"{MARKER}?", media=(png(1, 1)[:16] + b"\0\1\0\0" * 2,)), "4294967296 pixels"),
        (Completion(prompt=MARKER * 17 + "?", media=(RED,) * 17), "exceeds the available context size (256 tokens)"),
    ],
)
def test_refusals(desk: Desk, params: Completion, said: str) -> None:
    """Before anything is unpacked or computed; the engine goes on."""
    assert said in refusal(desk, params)
    assert text(desk, look(1)).usage.completion_tokens == 12


def test_a_model_without_eyes_refuses(folder: Path) -> None:
    """And says what it lacks."""
    desk = desk_of(folder, mmproj="")
    try:
        assert "option `mmproj`" in refusal(desk, look(1, RED))
    finally:
        desk.engine.close()


def test_a_bad_projector_is_refused(folder: Path) -> None:
    """One that is missing, one that is a model, and one that is for another model."""
    for name, said in (("none.gguf", "none.gguf"), ("eyes.gguf", "is no projector")):
        with pytest.raises(ConfigError, match=said):
            seeing(folder, mmproj=name)
    tiny.projector(folder / "wide.gguf", width=48)
    made = seeing(folder, mmproj="wide.gguf")
    with pytest.raises(ModelLoadFailed, match="cannot load the projector"):
        made.load(made.models()[0], lambda _: None)


def test_encoded_pictures_are_kept_for_the_next_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture is encoded once."""
    from velesio.backends.llama.binding import projector

    encoded: list[int] = []
    original = projector.m.mtmd_encode_chunk
    monkeypatch.setattr(projector.m, "mtmd_encode_chunk", lambda *args: encoded.append(1) or original(*args))
    picture = png(7, 7, (1, 2, 3))
    assert text(desk, look(1, picture)).tokens == text(desk, look(1, picture)).tokens
    assert len(encoded) == 1


def test_marks_stand_for_files() -> None:
    """They are put into chats, found again in what the template made of them, and shown as the common marker."""
    chat = marked(Chat(messages=[{"role": "user", "content": [{"type": "media", "media": 1}]}], media=(RED, BLUE)))
    one, two = marks_of((RED, BLUE))
    assert chat.messages[0]["content"] == two
    assert split_chat(f"a{two}b{one}", (RED, BLUE)) == ["a", BLUE, "b", RED]
    assert plain(f"a{two}b", (RED, BLUE)) == f"a{MARKER}b"
    with pytest.raises(BadRequest, match="leaves out the picture or sound 1"):
        split_chat(f"a{two}", (RED, BLUE))


def test_markers_stand_for_files_in_order() -> None:
    """In texts and in lists of texts and token ids."""
    assert split_prompt([f"a{MARKER}b{MARKER}"], (RED, BLUE)) == ["a", RED, "b", BLUE]
    assert split_prompt([5, f"{MARKER}a", 6], (RED,)) == [5, RED, "a", 6]
