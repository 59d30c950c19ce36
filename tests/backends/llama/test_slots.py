"""Slots: what they hold goes to a file and comes back; files that are not right are refused."""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.llama import tiny
from velesio.backends.base import Work
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.options import LoraFile, Options
from velesio.backends.llama.sequence import Prompt, Sequence
from velesio.backends.llama.slots import Held, SlotFiles, describe
from velesio.errors import BadRequest, NotFound, Unsupported, VelesioError
from velesio.jobs import Completion, Job, Slots, SlotsResult

TENANT = "default"


class Rack:
    """Two slots; sequence ids are handed out from 2 on."""

    count = 2

    def __init__(self) -> None:
        self.left: dict[int, Held] = {}
        self.busy: set[int] = set()
        self.vacated: list[int] = []
        self.returned: list[int] = []

    def slots(self) -> list[dict[str, Any]]:
        return [{"id": slot, "is_processing": slot in self.busy} for slot in range(self.count)]

    def is_busy(self, slot: int) -> bool:
        return slot in self.busy

    def held(self, slot: int, tenant: str) -> Held | None:
        return self.left.get(slot) if tenant == TENANT else None

    def vacate(self, slot: int) -> int:
        self.vacated.append(2 + slot)
        return self.vacated[-1]

    def adopt(self, slot: int, cell: int, tokens: "array[int]", tenant: str) -> None:
        self.left[slot] = Held(cell, tokens)

    def give_up(self, slot: int, cell: int) -> None:
        self.returned.append(cell)

    def erase(self, slot: int) -> int:
        held = self.left.pop(slot, None)
        return len(held.tokens) if held else 0


class Bench:
    """A model with random weights, its cells, and files of slots."""

    def __init__(self, path: Path, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.rack = Rack()
        chosen = Options(threads=1, slots=4, **({"slot_save_path": str(folder)} | options))
        self.model = Model(path, chosen, lambda part: None)
        self.context = Context(self.model, chosen, 64)
        self.files = SlotFiles(self.model, self.context, chosen, self.rack)

    def compute(self, cell: int, tokens: "array[int]", begin: int = 0) -> tuple[int, float]:
        """The likeliest next token."""
        place = self.context.add(cell, tokens[begin:], begin, outputs=1)
        assert self.context.decode() == 0
        return self.context.likeliest(place)

    def fill(self, slot: int, text: str) -> "array[int]":
        tokens = array("i", self.model.tokenize(text))
        self.context.remove(slot)
        self.compute(slot, tokens)
        self.rack.left[slot] = Held(slot, tokens)
        return tokens

    def run(self, action: Any, slot: int = 0, filename: str = "a.bin", tenant: str = TENANT) -> SlotsResult:
        params = Slots(action=action, id_slot=slot, filename=filename)
        self.files.check(params)
        return self.files.perform(params, tenant)

    def close(self) -> None:
        self.context.close()
        self.model.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def build(*, seed: int = 2, **options: Any) -> Bench:
        path = tiny.decoder(tmp_path / f"{seed}.gguf", seed=seed)
        benches.append(Bench(path, tmp_path / "saved", **options))
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()


def test_a_slot_comes_back_as_it_was(make: Callable[..., Bench]) -> None:
    """Saved, and restored into another slot: the next tokens are exactly those that would have come."""
    bench = make()
    tokens = bench.fill(0, "once upon a time")
    saved = bench.run("save")
    assert saved.tokens == len(tokens)
    assert saved.bytes == (bench.folder / "a.bin").stat().st_size
    restored = bench.run("restore", slot=1)
    assert (restored.tokens, restored.bytes) == (saved.tokens, saved.bytes)
    held = bench.rack.left[1]
    assert held.tokens == tokens
    longer = array("i", [*tokens, 65, 66])
    assert bench.compute(held.cell, longer, len(tokens)) == bench.compute(0, longer, len(tokens))


def test_a_restart_lies_between(make: Callable[..., Bench]) -> None:
    """Another process with the same model reads the file."""
    first = make()
    tokens = first.fill(0, "hello")
    first.run("save")
    second = make()
    second.run("restore")
    assert second.rack.left[0].tokens == tokens


def test_erase_and_list(make: Callable[..., Bench]) -> None:
    """Erase answers how much was forgotten; the list is the engine's own."""
    bench = make()
    tokens = bench.fill(1, "hello")
    assert bench.run("erase", slot=1).tokens == len(tokens)
    assert bench.run("erase", slot=1).tokens == 0
    assert bench.run("list", slot=-1).slots == ({"id": 0, "is_processing": False}, {"id": 1, "is_processing": False})


def test_a_slot_is_described() -> None:
    """As llama.cpp's server does: an idle one shortly, a working one with what it does."""
    assert describe(id=1, n_ctx=64, sequence=None) == {
        "id": 1,
        "n_ctx": 64,
        "speculative": False,
        "is_processing": False,
    }
    params = Completion(prompt="", max_tokens=9)
    work = Work(Job.new("m", params, stream=True), lambda work, event: None)
    sequence = Sequence(work, params, Prompt([1, 2, 3]), cast("Any", None), context=64)
    sequence.computed, sequence.cached, sequence.number = 2, 1, 7
    found = describe(id=0, n_ctx=64, sequence=sequence)
    facts = ("id_task", "n_prompt_tokens", "n_prompt_tokens_processed", "n_prompt_tokens_cache", "is_processing")
    assert [found[name] for name in facts] == [7, 3, 1, 1, True]
    assert (found["params"]["n_predict"], found["params"]["stream"], found["params"]["top_k"]) == (9, True, 40)
    assert found["next_token"] == [{"has_next_token": True, "has_new_line": False, "n_remain": 9, "n_decoded": 0}]


def test_a_busy_slot_makes_wait(make: Callable[..., Bench]) -> None:
    """Looking does not wait; the rest does, for this slot only."""
    bench = make()
    bench.rack.busy = {0}
    for action in ("save", "restore", "erase"):
        assert bench.files.must_wait(Slots(action=action, id_slot=0))
        assert not bench.files.must_wait(Slots(action=action, id_slot=1))
    assert not bench.files.must_wait(Slots())


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", ".hidden", "a\x00b", "a\nb", "x" * 129, "C:a", "-x"],
)
def test_only_plain_names(make: Callable[..., Bench], name: str) -> None:
    """Nothing that could lead out of the folder, hide, or confuse a shell."""
    bench = make()
    bench.fill(0, "hello")
    for action in ("save", "restore"):
        with pytest.raises(BadRequest, match="plain name"):
            bench.run(action, filename=name)
    assert not bench.folder.exists()


@pytest.mark.parametrize(
    ("action", "slot", "said"),
    [("save", 2, "no slot 2; ids are 0 to 1"), ("erase", -1, "no slot -1"), ("save", 1, "slot 1 holds nothing")],
)
def test_slots_that_are_not_there(make: Callable[..., Bench], action: str, slot: int, said: str) -> None:
    """Unknown and empty ones."""
    with pytest.raises(BadRequest, match=said):
        make().run(action, slot=slot)


def test_without_a_folder_nothing_is_saved(make: Callable[..., Bench]) -> None:
    """501 that names the option; the list is there all the same."""
    bench = make(slot_save_path="")
    for action in ("save", "restore", "erase"):
        with pytest.raises(Unsupported, match="slot_save_path"):
            bench.run(action)
    assert len(bench.run("list").slots) == 2


def test_other_tenants_slots_are_not_saved(make: Callable[..., Bench]) -> None:
    """The engine decides who may have what a slot left."""
    bench = make()
    bench.fill(0, "secret")
    with pytest.raises(BadRequest, match="holds nothing"):
        bench.run("save", tenant="other")


def test_the_folder_has_a_limit(make: Callable[..., Bench]) -> None:
    """A file that would exceed it is not written; one that is replaced does not count."""
    bench = make()
    bench.fill(0, "hello there")
    size = bench.run("save").bytes
    tight = make(slot_save_bytes=size + size // 2)
    tight.fill(0, "hello there")
    assert tight.run("save").bytes == size
    with pytest.raises(BadRequest, match="slot_save_bytes"):
        tight.run("save", filename="b.bin")
    assert [path.name for path in tight.folder.iterdir()] == ["a.bin"]


def test_a_failed_write_leaves_the_old_file(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was saved before stays whole, and no half file lies about."""
    bench = make()
    bench.fill(0, "hello")
    bench.run("save")
    before = (bench.folder / "a.bin").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    bench.fill(0, "something else")
    with pytest.raises(BadRequest, match="No space left"):
        bench.run("save")
    assert [path.name for path in bench.folder.iterdir()] == ["a.bin"]
    assert (bench.folder / "a.bin").read_bytes() == before


def test_what_is_no_file_is_not_read(make: Callable[..., Bench]) -> None:
    """Missing: 404. Links and pipes, which could lead or block elsewhere, are refused."""
    bench = make()
    bench.folder.mkdir()
    with pytest.raises(NotFound, match=r"no saved slot a\.bin"):
        bench.run("restore")
    (bench.folder / "link").symlink_to("/etc/hostname")
    os.mkfifo(bench.folder / "pipe")
    (bench.folder / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(BadRequest, match=name):
            bench.run("restore", filename=name)


@pytest.mark.parametrize("change", [{"seed": 3}, {"rope_freq_base": 5000.0}, {"lora": True}])
def test_files_of_others_are_refused(make: Callable[..., Bench], tmp_path: Path, change: dict[str, Any]) -> None:
    """Other weights of the same shape, other positions, other adapters: the cached values would be wrong."""
    bench = make()
    bench.fill(0, "hello")
    bench.run("save")
    if "lora" in change:
        change = {"lora": (LoraFile(path=str(tmp_path / "x.gguf")),)}
    other = make(**change)
    with pytest.raises(BadRequest, match="another model"):
        other.run("restore")
    assert not other.rack.vacated


def test_other_formats_of_cached_values_are_refused(make: Callable[..., Bench]) -> None:
    """llama.cpp sees that the state does not fit, and the cells are given back empty."""
    bench = make()
    tokens = bench.fill(0, "hello")
    bench.run("save")
    other = make(kv_type_k="f32")
    with pytest.raises(BadRequest, match="does not fit this model's cache"):
        other.run("restore")
    assert other.rack.returned == other.rack.vacated == [2]
    assert other.compute(2, tokens)[0] == bench.compute(3, tokens)[0]


def _resealed(data: bytes) -> bytes:
    """A forged file: its digest is right."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, bytes]]:
    folder = tmp_path_factory.mktemp("forged")
    bench = Bench(tiny.decoder(folder / "model.gguf"), folder / "saved")
    bench.fill(0, "once upon a time")
    bench.run("save")
    yield bench, (bench.folder / "a.bin").read_bytes()
    bench.close()


@given(place=st.integers(0, 10**6), bits=st.integers(1, 255), sealed=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_files_never_crash(forge: tuple[Bench, bytes], place: int, bits: int, sealed: bool) -> None:
    """A flipped bit is found by the digest. With a forged digest llama.cpp refuses the file, or the cells hold as many
    tokens as it says and can be computed on; the process lives either way."""
    bench, good = forge
    data = bytearray(good)
    data[place % len(data)] ^= bits
    _try(bench, _resealed(bytes(data)) if sealed else bytes(data), must_fail=not sealed)


@given(length=st.integers(0, 10**6), sealed=st.booleans())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_short_files_never_crash(forge: tuple[Bench, bytes], length: int, sealed: bool) -> None:
    """Whatever is cut off, digest or not."""
    bench, good = forge
    data = good[: length % len(good)]
    _try(bench, _resealed(data) if sealed and len(data) > 32 else data, must_fail=True)


@given(words=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF])), min_size=1))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_forged_states_never_crash(forge: tuple[Bench, bytes], words: list[tuple[int, int]]) -> None:
    """Counts, positions and shapes at the begin of the state become anything."""
    bench, good = forge
    data = bytearray(good)
    begin = good.index(b"VELSLOT\n") + 56 + 4 * 16
    for place, number in words:
        data[begin + 4 * place : begin + 4 * place + 4] = number.to_bytes(4, "little")
    _try(bench, _resealed(bytes(data)), must_fail=False)


def _try(bench: Bench, data: bytes, *, must_fail: bool) -> None:
    (bench.folder / "bad.bin").write_bytes(data)
    bench.context.remove(3)
    try:
        result = bench.run("restore", slot=1, filename="bad.bin")
    except VelesioError:
        return
    assert not must_fail
    held = bench.rack.left[1]
    assert result.tokens == len(held.tokens)
    bench.compute(held.cell, array("i", [*held.tokens, 65]), len(held.tokens))
