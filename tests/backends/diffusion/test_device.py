"""The device: what is chosen, in which numbers, and what is kept where. This machine has no GPU: torch's `meta` device,
which holds no numbers, stands for one where networks move."""

from typing import Any

import pytest
import torch
from torch import nn

from velesio.backends.diffusion import device
from velesio.backends.diffusion.device import Device, is_out_of_memory
from velesio.backends.diffusion.options import Options
from velesio.errors import ConfigError


def there(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """A machine with so many NVIDIA GPUs, or with Apple's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every device is torch's `meta`."""
    monkeypatch.setattr(device, "_place", lambda _wanted: "meta")


@pytest.mark.parametrize(
    ("wanted", "machine", "place"),
    [
        ("auto", {}, "cpu"),
        ("auto", {"cuda": 1}, "cuda"),
        ("auto", {"mps": True}, "mps"),
        ("auto", {"cuda": 2, "mps": True}, "cuda"),
        ("cpu", {"cuda": 2}, "cpu"),
        ("cuda", {"cuda": 1}, "cuda"),
        ("cuda:1", {"cuda": 2}, "cuda:1"),
        ("mps", {"mps": True}, "mps"),
    ],
)
def test_the_best_device_is_chosen(
    wanted: str, machine: dict[str, Any], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU where there is one, or what was asked for."""
    there(monkeypatch, **machine)
    assert str(Device(Options(device=wanted)).place) == place


@pytest.mark.parametrize(("wanted", "cuda"), [("cuda", 0), ("cuda:1", 1), ("mps", 1)])
def test_a_device_that_is_not_there_is_named(wanted: str, cuda: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another one in its place."""
    there(monkeypatch, cuda=cuda)
    with pytest.raises(ConfigError, match=rf"device = '{wanted}'"):
        Device(Options(device=wanted))


def test_a_gpu_computes_in_half_precision_and_in_larger_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor in single precision; each as the options say, if they do."""
    there(monkeypatch, cuda=1)
    cpu, cuda = Device(Options(device="cpu")), Device(Options(device="cuda"))
    assert (cpu.is_gpu, cpu.dtype, cpu.vae_dtype, cpu.rows) == (False, torch.float32, torch.float32, 32)
    assert (cuda.is_gpu, cuda.dtype, cuda.vae_dtype, cuda.rows) == (True, torch.float16, torch.float16, 64)
    told = Device(Options(device="cuda", dtype="bfloat16", vae_dtype="float32", rows=5))
    assert (told.dtype, told.vae_dtype, told.rows) == (torch.bfloat16, torch.float32, 5)


def test_threads_are_those_of_torch() -> None:
    """0 leaves them alone."""
    before = torch.get_num_threads()
    try:
        Device(Options(device="cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
        Device(Options(device="cpu"))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("tiling", "pixels", "tiles"),
    [("on", 1, True), ("off", 1 << 30, False), ("auto", 1024 * 1024, False), ("auto", 1024 * 1024 + 1, True)],
)
def test_large_pictures_are_decoded_in_tiles(tiling: Any, pixels: int, tiles: bool) -> None:
    """Above a megapixel, unless the options say otherwise."""
    assert Device(Options(device="cpu", vae_tiling=tiling)).tiles(pixels) is tiles


@pytest.mark.usefixtures("gpu")
def test_whole_networks_come_only_when_they_are_used() -> None:
    """With `offload = "parts"` a network is settled where it is; without, it goes to the device at once."""
    kept = Device(Options(offload="parts"))
    network = kept.settle(nn.Linear(2, 2), torch.float16)
    assert (network.weight.device.type, network.weight.dtype) == ("cpu", torch.float16)
    kept.enter(network)
    assert network.weight.device.type == "meta"
    plain = Device(Options())
    network = plain.settle(nn.Linear(2, 2), torch.float32)
    assert network.weight.device.type == "meta"
    assert not network.training
    assert not network.weight.requires_grad
    plain.leave(network)
    assert network.weight.device.type == "meta"


def test_on_a_processor_nothing_is_offloaded() -> None:
    """Whatever the options say: it is where it would go."""
    for offload in ("parts", "layers"):
        cpu = Device(Options(device="cpu", offload=offload))
        network = cpu.settle(Diffusing(), torch.float32)
        cpu.enter(network)
        cpu.leave(network)
        assert network.weight.device.type == "cpu"
        assert network.done == []
        cpu.free()


class Diffusing(nn.Linear):
    """A network with what those of diffusers can do, which says what was done."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.done: list[Any] = []

    def enable_group_offload(self, *places: torch.device, offload_type: str) -> None:
        self.done.append((*map(str, places), offload_type))

    def set_attention_slice(self, size: str) -> None:
        self.done.append(size)

    def enable_xformers_memory_efficient_attention(self) -> None:
        self.done.append("xformers")


@pytest.mark.usefixtures("gpu")
def test_layers_come_one_by_one() -> None:
    """With `offload = "layers"` diffusers moves them, if the network is one of its own."""
    layers = Device(Options(offload="layers"))
    network = layers.settle(Diffusing(), torch.float16)
    assert network.done == [("meta", "cpu", "leaf_level")]
    assert (network.weight.device.type, network.weight.dtype) == ("cpu", torch.float16)
    assert layers.settle(nn.Linear(2, 2), torch.float16).weight.device.type == "meta"


@pytest.mark.parametrize(
    ("attention", "machine", "installed", "done"),
    [
        ("auto", {"cuda": 1}, True, ["xformers"]),
        ("auto", {"cuda": 1}, False, []),
        ("auto", {}, True, []),
        ("sdpa", {"cuda": 1}, True, []),
        ("sliced", {}, True, ["auto"]),
        ("xformers", {}, True, ["xformers"]),
    ],
)
def test_attention_is_computed_as_the_options_say(
    attention: Any, machine: dict[str, Any], installed: bool, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """xFormers by itself only on NVIDIA's GPUs, and only where it is installed."""
    there(monkeypatch, **machine)
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: object() if installed else None)
    chosen = Device(Options(attention=attention))
    network = Diffusing()
    chosen._choose_attention(network)
    assert network.done == done
    chosen._choose_attention(nn.Linear(2, 2))  # a network without such a choice computes as ever


def test_attention_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was asked for by name."""
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="xformers is not installed"):
        Device(Options(device="cpu", attention="xformers")).settle(nn.Linear(2, 2), torch.float32)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_memory_that_no_tensor_needs_is_given_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the device that it belongs to."""
    there(monkeypatch, cuda=1, mps=True)
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    Device(Options(device=kind)).free()
    assert emptied == [kind]


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_short_memory_looks_like(error: Exception, short: bool) -> None:
    """By its class or by its words, on whatever device."""
    assert is_out_of_memory(error) is short
