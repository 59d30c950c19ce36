"""Pictures that share steps, and what may go wrong with one of them without harm to the others."""

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backends.conformance import Desk
from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, subject_of
from velesio.backends.diffusion import answers as answering
from velesio.backends.diffusion import engine as engines
from velesio.backends.diffusion.calls import size
from velesio.backends.diffusion.conditioning import Style
from velesio.jobs import Cancelled, Completed, Failed, Hires, Image, Inpaint, Progress, Solving

SAMPLERS = ("Euler", "Euler a", "DPM++ 2M Karras", "Heun", "DPM++ SDE", "DDIM", "UniPC", "LMS")


def mixed(number: int) -> Image:
    """Jobs of one size that differ in everything else."""
    return Image(
        f"{'a big ' * number}fox",
        negative_prompt="blue" if number % 2 else "",
        sampler=SAMPLERS[number % len(SAMPLERS)],
        steps=4 + number,
        seed=100 + number,
        cfg=3.0 + number,
        batch=1 + (number == 3),
    )


@pytest.fixture(scope="module")
def alone(opened: Studio) -> list[tuple[bytes, ...]]:
    """The pictures of eight mixed jobs, each made alone."""
    return [opened.run(mixed(number)).result.pictures for number in range(8)]


@pytest.fixture
def groups(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows of each prediction that is computed. What waits is taken, whatever was learned of this machine's pace."""
    monkeypatch.setattr(studio.engine._pace, "rows", lambda _shape, waiting, least: max(waiting, least))
    seen: list[int] = []

    def watched(models: Any, calls: Any) -> Any:
        if calls[0].key.kind == "predict":
            seen.append(sum(size(call) for call in calls))
        return answering.answers(models, calls)

    monkeypatch.setattr(engines, "answers", watched)
    return seen


def assert_same(pictures: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> None:
    assert len(pictures) == len(wanted)
    for one, other in zip(pictures, wanted, strict=True):
        assert tiny.difference(one, other) <= 1


def test_the_same_alone_and_among_others(studio: Studio, alone: list[tuple[bytes, ...]], groups: list[int]) -> None:
    """Eight unlike jobs that come one step after the other share calls, and are what they are alone."""
    works = []
    for number in range(8):
        works.append(studio.start(mixed(number)))
        studio.engine.step()
    for final, wanted in zip(studio.finish(*works), alone, strict=True):
        assert isinstance(final, Completed)
        assert_same(final.result.pictures, wanted)
    assert max(groups) >= 8


@pytest.mark.parametrize("seed", range(4))
def test_survivors_of_cancels_are_unharmed(studio: Studio, alone: list[tuple[bytes, ...]], seed: int) -> None:
    """Whoever is cancelled whenever, the others' pictures are those made alone."""
    chance = random.Random(seed)
    works = [studio.start(mixed(number)) for number in range(8)]
    doomed = dict.fromkeys(chance.sample(works, 4))
    while any(studio.final(work) is None for work in works):
        for work in doomed:
            work.cancelled = work.cancelled or chance.random() < 0.15
        studio.engine.step()
    for work, wanted in zip(works, alone, strict=True):
        final = studio.final(work)
        if isinstance(final, Cancelled):
            assert work in doomed
        else:
            assert isinstance(final, Completed)
            assert_same(final.result.pictures, wanted)


def test_a_job_alone_shares_with_nobody(studio: Studio, groups: list[int]) -> None:
    """With `alone` a job's rows are computed by themselves."""
    works = [studio.start(Image("a fox", steps=3, seed=number, alone=True)) for number in range(3)]
    studio.finish(*works)
    assert set(groups) == {2}


def test_without_batching_nobody_shares(furnished: Path, groups: list[int]) -> None:
    """`batching = false` computes each picture by itself."""
    desk = Desk(subject_of(furnished, batching=False))
    desk.finish(*(desk.start(Image("a fox", steps=2, seed=number)) for number in range(3)))
    desk.engine.close()
    assert set(groups) == {2}


def test_rows_have_a_limit(furnished: Path, groups: list[int]) -> None:
    """No call has more rows than the options allow, however large a job's set is."""
    desk = Desk(subject_of(furnished, rows=6))
    final = desk.run(Image("a fox", steps=2, batch=7))
    desk.engine.close()
    assert isinstance(final, Completed)
    assert len(final.result.pictures) == 7
    assert max(groups) <= 6


def test_unlike_jobs_take_turns(studio: Studio) -> None:
    """A small picture is not kept waiting by a long row of larger ones: all end, the small one among the first."""
    large = [studio.start(Image("a fox", width=128, height=128, steps=12, seed=number)) for number in range(3)]
    for _ in range(3):
        studio.engine.step()
    small = studio.start(Image("an owl", steps=4))
    studio.finish(small)
    assert all(studio.final(work) is None for work in large)
    assert all(isinstance(final, Completed) for final in studio.finish(*large))


def test_progress_counts_up_to_the_last_step(studio: Studio) -> None:
    """Where events are wanted each step is told once, over both passes and the mean of a batch; else none."""
    for fields, total in [({}, 5), ({"hires": Hires(1.5, steps=3)}, 8), ({"batch": 2}, 5), ({"sampler": "Heun"}, 5)]:
        work = studio.start(Image("a fox", **({"steps": 5, "seed": 1} | fields)), stream=True)
        studio.finish(work)
        told = [(event.done, event.total) for event in studio.of(work) if isinstance(event, Progress)]
        assert told == [(done, total) for done in range(1, total + 1)]
    silent = studio.start(Image("a fox", steps=3))
    studio.finish(silent)
    assert not any(isinstance(event, Progress) for event in studio.of(silent))


def test_numbers_that_are_none_fail_one_job(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents that become NaN fail their own job with a reason; the others of the group are unharmed."""
    wanted = studio.result(steps=4).pictures
    networks = studio.engine._models.own
    right = type(networks).predict

    def broken(self: Any, rows: Any, **fields: Any) -> Any:
        found = right(self, rows, **fields).clone()
        for number, row in enumerate(rows):
            if (row.context.states == poisoned.states).all():
                found[number] = float("nan")
        return found

    poisoned = networks.conditioner.contexts(["poison"], Style())[0]
    monkeypatch.setattr(type(networks), "predict", broken)
    sick = studio.start(Image("poison", steps=4, seed=1))
    well = studio.start(Image("a fox", steps=4, seed=3))
    finals = studio.finish(sick, well)
    assert isinstance(finals[0], Failed)
    assert "NaN" in finals[0].message
    assert_same(finals[1].result.pictures, wanted)


def test_an_error_in_a_group_fails_only_whoever_causes_it(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group is halved until the guilty one is alone."""
    wanted = studio.result(steps=4).pictures

    def broken(models: Any, calls: Any) -> Any:
        if calls[0].key.kind == "predict" and any(row.sigma > 1000 for call in calls for row in call.rows):
            raise ValueError("a row that the network cannot stand")
        return answering.answers(models, calls)

    monkeypatch.setattr(engines, "answers", broken)
    sick = studio.start(Image("a fox", steps=4, seed=1, sampler="Euler Karras", solving=Solving(sigma_max=5000.0)))
    well = studio.start(Image("a fox", steps=4, seed=3))
    finals = studio.finish(sick, well)
    assert isinstance(finals[0], Failed)
    assert (finals[0].code, "ValueError" in finals[0].message) == ("internal_error", True)
    assert_same(finals[1].result.pictures, wanted)


@pytest.mark.parametrize("fits", [4, 2, 0])
def test_memory_that_runs_out_splits_the_group(
    studio: Studio, alone: list[tuple[bytes, ...]], monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """Fewer rows at a time are tried; one that does not fit alone fails with advice; the engine goes on."""

    def short(models: Any, calls: Any) -> Any:
        if calls[0].key.kind == "predict" and sum(size(call) for call in calls) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return answering.answers(models, calls)

    monkeypatch.setattr(engines, "answers", short)
    works = [studio.start(mixed(number)) for number in range(3)]
    finals = studio.finish(*works)
    monkeypatch.undo()
    for number, final in enumerate(finals):
        if fits:
            assert_same(final.result.pictures, alone[number])
        else:
            assert (final.code, final.retry) == ("out_of_memory", False)
            assert "smaller" in final.message
    assert_same(studio.run(mixed(0)).result.pictures, alone[0])


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"width": 100_000}, "invalid_request", ["100000x64", "4194304"]),
        ({"width": 7}, "invalid_request", ["too small"]),
        ({"steps": 0}, "invalid_request", ["steps", "150"]),
        ({"steps": 1000}, "invalid_request", ["steps", "150"]),
        ({"batch": 1000}, "invalid_request", ["64"]),
        ({"cfg": -1.0}, "invalid_request", ["cfg"]),
        ({"denoising": 1.5}, "invalid_request", ["denoising"]),
        ({"sampler": "Eulr"}, "invalid_request", ["'Euler'"]),
        ({"schedule": "karas"}, "invalid_request", ["'Karras'"]),
        ({"init": (b"no picture",)}, "invalid_request", ["PNG"]),
        ({"init": (b"x", b"y"), "batch": 3}, "invalid_request", ["2 pictures", "3"]),
        ({"inpaint": Inpaint(b"x")}, "invalid_request", ["begin"]),
        ({"refiner": "nope"}, "invalid_request", ["'nope'", "other"]),
        ({"vae": "sft"}, "invalid_request", ["'sft'", "soft"]),
        ({"hires": Hires(upscaler="Lanzcos")}, "invalid_request", ["Lanczos"]),
        ({"hires": Hires(scale=400.0)}, "invalid_request", ["scale"]),
        ({"hires": Hires(width=50_000, height=50_000)}, "invalid_request", ["50000x50000"]),
    ],
)
def test_refusals_say_what_would_be_right(studio: Studio, fields: dict[str, Any], code: str, words: list[str]) -> None:
    """Every refusal has a code and names the limit or the nearest name; the next job is fine."""
    final = studio.refusal(**fields)
    assert (final.code, final.retry) == (code, False), final
    for word in words:
        assert word in final.message
    assert studio.result(steps=1).pictures


def test_a_decompression_bomb_is_refused(studio: Studio) -> None:
    """A file that would unpack to gigabytes is refused by the size that it says it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
    assert "64 million pixels" in studio.refusal(init=(bomb,)).message


def test_a_picture_that_is_cut_off_is_refused(studio: Studio) -> None:
    """Half of a PNG file is no picture."""
    file = studio.result(steps=1).pictures[0]
    assert studio.refusal(init=(file[: len(file) // 2],)).code == "invalid_request"
