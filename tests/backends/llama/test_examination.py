"""What doctor tells of llama.cpp, its devices and its models."""

from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as c

from velesio.backends.base import Catalogue, Examinable, Finding, ModelSpec
from velesio.backends.llama import backend, examination
from velesio.backends.llama.binding import devices
from velesio.backends.llama.binding.devices import Device

GPU = Device("CUDA0", "A fast card", "gpu", 8 << 30, 6 << 30)


def found(smollm2: Path, models_dir: Path = Path("models"), **options: Any) -> list[Finding]:
    spec = ModelSpec(name="small", path=smollm2, options=options)
    plugin = backend(Catalogue(models_dir=models_dir, specs=(spec,)))
    assert isinstance(plugin, Examinable)
    return list(plugin.examine())


def of_model(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.subject == "model small"]


def test_the_processor_is_a_device() -> None:
    """Of this kind, with its memory and abilities."""
    [cpu] = [device for device in devices.devices() if device.kind == "cpu"]
    assert cpu.description
    assert cpu.total > 1 << 28
    assert "OPENMP" in devices.features() or "SSE3" in devices.features() or "NEON" in devices.features()


@pytest.mark.skipif(c.llama_supports_gpu_offload(), reason="this build has a GPU")
def test_a_model_on_the_processor(smollm2: Path) -> None:
    """Every default is told as it was chosen, with what it needs and what is free."""
    findings = found(smollm2, threads=3, slots=2, kv_type_k="q8_0")
    assert any(finding.subject == "gpu build" and finding.mark == "--" for finding in findings)
    how, needs = of_model(findings)
    assert how.text == (
        "0 of 31 layers on the GPU; threads 3 (prompts 3); batch 512 in pieces of 128; 2 slots of 4096 tokens, "
        "8192 cells apart; keys q8_0, values f16; flash attention on"
    )
    assert needs.text.startswith("needs ")
    assert (needs.mark, "MiB free" in needs.text) == ("ok", True)


def test_a_model_that_does_not_fit_is_broken(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its load would be refused."""
    monkeypatch.setattr(examination, "free_memory", lambda: 10 << 20)
    assert of_model(found(smollm2))[1].mark == "!!"


def test_a_model_on_a_gpu(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers and where they are, and the GPU's memory beside the machine's."""
    monkeypatch.setattr(examination, "devices", lambda: [GPU, GPU])
    monkeypatch.setattr(examination, "supports_gpus", lambda: True)
    findings = found(smollm2, gpu_layers=20, split_mode="row")
    assert Finding("device CUDA0", "gpu, A fast card, 6144 of 8192 MiB free") in findings
    assert all(finding.subject != "gpu build" for finding in findings)
    how, needs = of_model(findings)
    assert how.text.startswith("20 of 31 layers on the GPU, split by row; ")
    assert "12288 MiB free on GPUs" in needs.text
    assert of_model(found(smollm2))[0].text.startswith("31 of 31 layers on the GPU, split by layer; ")


@pytest.mark.skipif(c.llama_supports_gpu_offload(), reason="this build has a GPU")
def test_what_is_missing_is_told(smollm2: Path, tmp_path: Path) -> None:
    """Files that are not there must be mended; layers without a GPU are only a pity."""
    findings = of_model(found(smollm2, tmp_path, draft="none.gguf", chat_template="none.jinja", gpu_layers=4))
    marks = {finding.text.partition(" ")[0]: finding.mark for finding in findings[2:]}
    assert marks == {"draft:": "!!", "chat_template:": "!!", "gpu_layers": "--"}
