"""GPU metrics: memory, load, heat and power of each NVIDIA GPU, read by nvidia-ml-py when Prometheus asks.

Where the library or the driver is missing there are none, which is no error.
"""

from collections.abc import Callable, Iterator
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)


class GpuMetrics(Collector):
    """What NVML tells of each GPU; a value that a GPU does not have is left out."""

    def __init__(self, nvml: Any) -> None:
        """`nvml`: the module `pynvml`, initialized."""
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        """One family for each quantity, labelled by the GPU's uuid."""
        gpus = self._gpus()
        for name, text, read in (
            ("velesio_vram_bytes", "Memory of the GPU, of all processes.", self._memory),
            ("velesio_gpu_utilization_ratio", "Part of the time in which kernels ran.", self._load),
            ("velesio_gpu_temperature_celsius", "Temperature of the chip.", self._temperature),
            ("velesio_gpu_power_watts", "Power drawn now.", self._power),
        ):
            labels = ["gpu", "kind"] if read == self._memory else ["gpu"]
            family = GaugeMetricFamily(name, text, labels=labels)
            for uuid, handle in gpus:
                for more, value in self._values(read, handle):
                    family.add_metric([uuid, *more], value)
            yield family

    def _gpus(self) -> list[tuple[str, Any]]:
        handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        return [(str(self._nvml.nvmlDeviceGetUUID(handle)), handle) for handle in handles]

    def _values(
        self, read: Callable[[Any], list[tuple[list[str], float]]], handle: Any
    ) -> list[tuple[list[str], float]]:
        try:
            return read(handle)
        except self._nvml.NVMLError:
            return []

    def _memory(self, handle: Any) -> list[tuple[list[str], float]]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return [(["used"], memory.used), (["total"], memory.total)]

    def _load(self, handle: Any) -> list[tuple[list[str], float]]:
        return [([], self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)]

    def _temperature(self, handle: Any) -> list[tuple[list[str], float]]:
        return [([], self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU))]

    def _power(self, handle: Any) -> list[tuple[list[str], float]]:
        return [([], self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000)]


def register(registry: CollectorRegistry) -> bool:
    """Adds the metrics to `registry`; False: there is no library, no driver or no GPU."""
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an extra

        pynvml.nvmlInit()
    except Exception as error:  # the library's own errors, and whatever loading a driver's library raises
        log.debug("no GPU metrics", reason=str(error))
        return False
    registry.register(GpuMetrics(pynvml))
    return True
