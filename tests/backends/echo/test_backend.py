"""The echo backend keeps the laws, and its switches do what they say."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.conformance import Desk, EngineLaws, Subject, TextLaws
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.echo import EchoBackend, backend
from velesio.errors import ConfigError
from velesio.jobs import Chat, Completed, Completion, Delta, Failed, Image, ImageResult


def echo(**options: object) -> EchoBackend:
    return backend(Catalogue(models_dir=Path("none"), specs=(ModelSpec(name="echo", options=options),)))


def subject_of(**options: object) -> Subject:
    made = echo(**options)
    return Subject(
        backend=made,
        card=made.models()[0],
        params=lambda number: Completion(prompt=f"one two {number}"),
        endless=Completion(prompt="[[tokens 400]]on and on"),
        too_much=Completion(prompt="word " * 1000),
    )


class TestText(TextLaws):
    prompts = ("one two three four five six seven eight nine", "a b c d e f g h i", "uno due tre quattro cinque sei")
    unicode = "où 🦊🐢 über 漢字 " * 8

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        return subject_of(context=500)


class TestImage(EngineLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        made = echo(capability="image")
        return Subject(
            backend=made,
            card=made.models()[0],
            params=lambda number: Image(prompt=f"{number}"),
            endless=Image(prompt="[[sleep 3600]]later"),
            too_much=Completion(prompt="text"),
            refusal="invalid_request",
        )

    def test_pictures_depend_on_prompt_and_seed_alone(self, desk: Desk) -> None:
        """Equal jobs give equal bytes, and every other prompt or seed gives others; they are PNG files."""
        pictures = []
        for prompt, seed in [("fox", 1), ("fox", 1), ("fox", 2), ("owl", 1)]:
            final = desk.run(Image(prompt=prompt, seed=seed, width=40, height=24))
            assert isinstance(final.result, ImageResult)
            assert final.result.seeds == (seed,)
            pictures += final.result.pictures
        assert pictures[0] == pictures[1]
        assert len(set(pictures)) == 3
        assert pictures[0].startswith(b"\x89PNG\r\n\x1a\n")
        assert pictures[0][16:24] == bytes([0, 0, 0, 40, 0, 0, 0, 24])


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(subject_of())
    yield desk
    desk.engine.close()


@pytest.mark.parametrize(
    ("prompt", "limit", "text", "stop"),
    [
        ("hello big world", -1, "hello big world", "eos"),
        ("hello big world", 2, "hello big", "limit"),
        ("hello big world", 9, "hello big world", "eos"),
        ("[[tokens 5]]hello world", -1, "hello world hello world hello", "eos"),
        ("[[tokens 1]] hello world", -1, "hello", "eos"),
        ("two  spaces\nand a line ", -1, "two  spaces\nand a line ", "eos"),
        (["a", 17, "b"], -1, "a 17 b", "eos"),
        ("", -1, "", "eos"),
    ],
)
def test_it_says_the_prompts_words(desk: Desk, prompt: str, limit: int, text: str, stop: str) -> None:
    """The answer is the prompt without switches, word by word."""
    result = desk.text(Completion(prompt=prompt, max_tokens=limit))
    assert (result.text, result.stop) == (text, stop)


def test_a_chat_is_its_last_message(desk: Desk) -> None:
    """Of a conversation the last message is echoed."""
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi there"}]
    assert desk.text(Chat(messages=messages)).text == "hi there"


@pytest.mark.parametrize(("switch", "retry"), [("fail", False), ("retry", True)])
def test_fail_fails_with_the_message(desk: Desk, switch: str, retry: bool) -> None:
    """The message goes to the client; only `retry` allows another attempt."""
    final = desk.run(Completion(prompt=f"[[{switch} no paper]]x"))
    assert (final.code, final.message, final.retry) == ("job_failed", "no paper", retry)


def test_after_lets_tokens_through_first(desk: Desk) -> None:
    """`after` counts tokens of the answer."""
    work = desk.start(Completion(prompt="[[after 2 fail late]]a b c d"), stream=True)
    assert isinstance(desk.finish(work)[0], Failed)
    assert [event.text for event in desk.of(work) if isinstance(event, Delta)] == ["a", " b"]


def test_raise_raises_out_of_step(desk: Desk) -> None:
    """The engine's runner must see the exception."""
    desk.start(Completion(prompt="[[raise]]x"))
    with pytest.raises(RuntimeError):
        desk.engine.step()


@pytest.mark.parametrize(("options", "prompt"), [({"tokens_per_second": 100}, "a b c"), ({}, "[[sleep 0.01]]a b c")])
def test_pauses_hold_for_each_job_alone(options: dict[str, object], prompt: str) -> None:
    """Three tokens at 10 ms take 30 ms, for four jobs together too."""
    desk = Desk(subject_of(**options))
    began = time.monotonic()
    works = [desk.start(Completion(prompt=prompt)) for _ in range(4)]
    assert all(isinstance(final, Completed) for final in desk.finish(*works))
    assert 0.03 <= time.monotonic() - began < 0.12


@pytest.mark.parametrize(("switch", "status"), [("crash", 1), ("hang", None)])
def test_crash_and_hang_take_the_process_with_them(switch: str, status: int | None) -> None:
    """`crash` ends the process without a word; `hang` never returns."""
    script = (
        "from pathlib import Path; from velesio.backends.base import *; from velesio.backends.echo import backend; "
        "from velesio.jobs import *; "
        "b = backend(Catalogue(models_dir=Path(), specs=(ModelSpec(name='e'),))); "
        "e = b.load(b.models()[0], lambda part: None); "
        f"e.admit(Work(Job.new('e', Completion(prompt='[[{switch}]]')), lambda work, event: None)); "
        "print('begun', flush=True); e.step()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        if status is None:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.kill()
        else:
            assert process.wait(10) == status


def test_an_unknown_option_is_refused_with_its_place() -> None:
    """The message names the table, the key and what is known."""
    with pytest.raises(ConfigError, match=r"models.*colour.*tokens_per_second"):
        echo(colour="red")
