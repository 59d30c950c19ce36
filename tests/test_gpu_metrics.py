"""What is told of GPUs, with a library that plays NVML: this machine has none."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from velesio import gpu_metrics


class NVMLError(Exception):
    """As NVML's own."""


def library() -> ModuleType:
    """Two GPUs, the second of which tells no power."""

    def power(handle: int) -> int:
        if handle == 1:
            raise NVMLError("not supported")
        return 168_340

    nvml = ModuleType("pynvml")
    nvml.__dict__.update(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=9 * 2**30, total=12 * 2**30),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87),
        nvmlDeviceGetTemperature=lambda handle, sensor: 71,
        nvmlDeviceGetPowerUsage=power,
    )
    return nvml


def test_each_gpu_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Prometheus's units; what one does not have is left out for it alone."""
    monkeypatch.setitem(sys.modules, "pynvml", library())
    registry = CollectorRegistry()
    assert gpu_metrics.register(registry)
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }
    assert told[("velesio_vram_bytes", "GPU-0", "used")] == 9 * 2**30
    assert told[("velesio_vram_bytes", "GPU-1", "total")] == 12 * 2**30
    assert told[("velesio_gpu_utilization_ratio", "GPU-0")] == 0.87
    assert told[("velesio_gpu_temperature_celsius", "GPU-1")] == 71
    assert told[("velesio_gpu_power_watts", "GPU-0")] == 168.34
    assert ("velesio_gpu_power_watts", "GPU-1") not in told


def test_without_a_library_or_a_driver_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is registered."""
    registry = CollectorRegistry()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not gpu_metrics.register(registry)

    def fail() -> None:
        raise NVMLError("driver not loaded")

    broken = library()
    broken.nvmlInit = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert not gpu_metrics.register(registry)
    assert list(registry.collect()) == []
