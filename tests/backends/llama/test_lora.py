"""Adapters: sets, their checks, and that they change what is computed for whom they should."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends.conformance import GREEDY, Desk, Subject
from tests.backends.llama import tiny
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.llama import backend
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.lora import Adapters, AdapterSet
from velesio.backends.llama.options import LoraFile, Options
from velesio.errors import BadRequest, ModelLoadFailed
from velesio.jobs import Completion

OPTIONS = Options(threads=1, slots=2)
PROMPT = "The capital of France is"


class Bench:
    """SmolLM2 with two adapters; the second works by default."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model = model
        self.context = Context(model, OPTIONS, 64)
        files = [
            LoraFile(path=str(tiny.lora(folder / "a.gguf", seed=1)), scale=0.0),
            LoraFile(path=str(tiny.lora(folder / "b.gguf", seed=2)), scale=0.5),
        ]
        self.adapters = Adapters(model, files)

    def text(self, wanted: AdapterSet, *, sequence: int = 0, steps: int = 6) -> list[int]:
        """The likeliest tokens after the prompt."""
        self.context.remove(sequence)
        tokens = self.model.tokenize(PROMPT)
        begin, fresh = 0, array("i", tokens)
        for _ in range(steps):
            self.adapters.apply(self.context, wanted)
            place = self.context.add(sequence, fresh, begin, outputs=1)
            assert self.context.decode() == 0
            begin += len(fresh)
            fresh = array("i", [self.context.likeliest(place)[0]])
            tokens += fresh
        return tokens

    def close(self) -> None:
        self.context.close()
        self.adapters.close()
        self.model.close()


@pytest.fixture(scope="module")
def bench(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(Model(smollm2, OPTIONS, lambda part: None), tmp_path_factory.mktemp("lora"))
    yield made
    made.close()


def test_no_adapter_at_scale_0(bench: Bench) -> None:
    """Scale 0 is left out of the set, so the text is the model's own, before and after an adapter worked."""
    assert bench.adapters.key_of(Completion(prompt="", lora=((0, 0.0), (1, 0.0)))) == ()
    own = bench.text(())
    assert "Paris" in bench.model.text(own)
    assert bench.text(((0, 1.0),)) != own
    assert bench.text(()) == own


def test_sets_do_not_mix(bench: Bench) -> None:
    """Two jobs in turn, each with its own set, get what each alone gets."""
    first, second = ((0, 1.0),), ((1, 1.0),)
    alone = [bench.text(first), bench.text(second)]
    assert alone[0] != alone[1]
    sequences = [bench.model.tokenize(PROMPT), bench.model.tokenize(PROMPT)]
    begins = [0, 0]
    for number in (0, 1):
        bench.context.remove(number)
    for _ in range(6):
        for number, wanted in enumerate((first, second)):
            bench.adapters.apply(bench.context, wanted)
            fresh = array("i", sequences[number][begins[number] :])
            place = bench.context.add(number, fresh, begins[number], outputs=1)
            assert bench.context.decode() == 0
            begins[number] += len(fresh)
            sequences[number].append(bench.context.likeliest(place)[0])
    assert sequences == alone


def test_the_scale_counts(bench: Bench) -> None:
    """Half an adapter is not a whole one: the same tokens get other probabilities."""
    found = []
    for scale in (0.25, 0.5, 1.0):
        bench.adapters.apply(bench.context, ((1, scale),))
        bench.context.remove(0)
        place = bench.context.add(0, array("i", bench.model.tokenize(PROMPT)), 0, outputs=1)
        assert bench.context.decode() == 0
        found.append(bench.context.likeliest(place)[1])
    assert len(set(found)) == 3


def test_the_set_of_a_job(bench: Bench) -> None:
    """Without a word the options' scales; else exactly what is named, in order of the ids, the last word counting."""
    key = bench.adapters.key_of
    assert key(Completion(prompt="")) == ((1, 0.5),)
    assert key(Completion(prompt="", lora=())) == ()
    assert key(Completion(prompt="", lora=((1, 2.0), (0, 1.0)))) == ((0, 1.0), (1, 2.0))
    assert key(Completion(prompt="", lora=((0, 1.0), (0, 0.0)))) == ()


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (((2, 1.0),), "no LoRA adapter 2; ids are 0 to 1"),
        (((-1, 1.0),), "no LoRA adapter -1"),
        (((0, float("nan")),), "within"),
        (((0, float("inf")),), "within"),
        (((0, 2000.0),), "within ±1000"),
    ],
)
def test_what_cannot_be_is_refused(bench: Bench, lora: Any, said: str) -> None:
    """Unknown adapters, and scales that would make invalid numbers."""
    with pytest.raises(BadRequest, match=said) as caught:
        bench.adapters.key_of(Completion(prompt="", lora=lora))
    assert caught.value.param == "lora"


def test_a_model_without_adapters(bench: Bench) -> None:
    """Says so."""
    with pytest.raises(BadRequest, match="this model has none"):
        Adapters(bench.model, ()).key_of(Completion(prompt="", lora=((0, 1.0),)))


def test_a_set_in_force_is_not_set_again(bench: Bench) -> None:
    """Applying costs nothing where nothing changes, and is remembered for each context by itself."""
    calls: list[int] = []

    class Watched:
        def adapt(self, adapters: Any) -> None:
            calls.append(len(adapters))

    first, second = Watched(), Watched()
    for context in (first, first, second):
        bench.adapters.apply(context, ((0, 1.0),))
    bench.adapters.apply(first, ())
    bench.adapters.apply(first, ())
    assert calls == [1, 1, 0]


def test_an_adapter_for_another_model_fails_the_load(bench: Bench, tmp_path: Path) -> None:
    """With llama.cpp's words, and those loaded before are freed."""
    good, bad = tiny.lora(tmp_path / "good.gguf"), tiny.lora(tmp_path / "bad.gguf", width=32)
    with pytest.raises(ModelLoadFailed, match=r"bad\.gguf.*incorrect shape"):
        Adapters(bench.model, [LoraFile(path=str(good)), LoraFile(path=str(bad))])


# Through the engine


@pytest.fixture(scope="module")
def desk(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """SmolLM2 with two adapters that do nothing by default."""
    folder = tmp_path_factory.mktemp("models")
    files = [tiny.lora(folder / f"{number}.gguf", seed=number) for number in (1, 2)]
    options = {"context": 128, "slots": 4, "threads": 1, "lora": [{"path": file.name, "scale": 0} for file in files]}
    made = backend(
        Catalogue(models_dir=folder, specs=(ModelSpec(name="smollm2", path=smollm2, options=options),), demo=False)
    )
    subject = Subject(made, made.models()[0], lambda number: asked(), asked())
    desk = Desk(subject)
    yield desk
    desk.engine.close()


def asked(lora: Any = None) -> Completion:
    return Completion(prompt=PROMPT, lora=lora, sampling=GREEDY, max_tokens=8)


def test_jobs_choose_their_adapters(desk: Desk) -> None:
    """Scale 0 is the model's own text; another scale changes it; the next job is not touched."""
    own = desk.text(asked()).text
    assert "Paris" in own
    assert desk.text(asked(((0, 0.0), (1, 0.0)))).text == own
    assert desk.text(asked(((0, 1.0),))).text != own
    assert desk.text(asked()).text == own


def test_jobs_with_different_adapters_run_side_by_side(desk: Desk) -> None:
    """Each gets what it gets alone, though all have the same prompt and some of them the same adapters."""
    sets: list[Any] = [None, ((0, 1.0),), ((1, 1.0),), ((0, 1.0),)]
    alone = [desk.text(asked(lora)).text for lora in sets]
    assert len(set(alone)) == 3
    finals = desk.finish(*[desk.start(asked(lora)) for lora in sets])
    assert [final.result.text for final in finals] == alone


def test_a_cached_prefix_is_not_used_with_other_adapters(desk: Desk) -> None:
    """What is computed with one set is of no use with another; with the same it is."""
    prompt = "Lighthouses show sailors the way home. " * 10
    params = [msgspec.structs.replace(asked(lora), prompt=prompt) for lora in (((0, 0.5),), ((0, 0.75),), ((0, 0.5),))]
    cached = [desk.text(one).usage.cached_tokens for one in params]
    assert cached[:2] == [0, 0]
    assert cached[2] > 50


def test_unknown_adapters_fail_the_job(desk: Desk) -> None:
    """With the code for bad requests."""
    assert desk.run(asked(((7, 1.0),))).code == "invalid_request"
