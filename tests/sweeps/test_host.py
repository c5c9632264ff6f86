from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from sweeps import host
from sweeps.host import HostSampler, gpu_use


def test_means_are_of_what_happened_since_the_last_call() -> None:
    with HostSampler(interval_s=0.01) as sampler:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        busy = sampler.take()
        threading.Event().wait(0.2)
        idle = sampler.take()
    assert busy["system/cpu_utilization_percentage"] > idle["system/cpu_utilization_percentage"]
    assert busy["system/process_memory_megabytes"] > 5
    assert set(busy) == set(idle)


def test_its_thread_ends_with_it() -> None:
    with HostSampler():
        assert any(t.name == "host-sampler" for t in threading.enumerate())
    assert not any(t.name == "host-sampler" for t in threading.enumerate())


class Gpus:
    """Three GPUs as nvidia-ml-py shows them: number n is n * 10 % busy; the last is a MIG slice."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def nvmlInit(self) -> None:
        return

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return ["GPU-a", "GPU-b", "GPU-c"].index(uuid)

    def nvmlDeviceGetIndex(self, handle: int) -> int:
        return handle

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if handle == 2:
            raise self.NVMLError_NotSupported
        return SimpleNamespace(gpu=handle * 10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=1e9)


@pytest.mark.parametrize(
    ("visible", "seen", "use"),
    [
        (None, {0, 1, 2}, 5.0),
        ("1", {1}, 10.0),
        ("GPU-b,GPU-a", {0, 1}, 5.0),
        ("2", {2}, None),
        ("", set(), None),
        ("-1", set(), None),
    ],
)
def test_gpus_are_those_that_cuda_shows(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: set[int], use: float | None
) -> None:
    monkeypatch.setattr(host, "pynvml", Gpus())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with HostSampler() as sampler:
        means = sampler.take()
        latest = sampler.latest()
    memory = {k for k in means if k.endswith("memory_usage_megabytes") and "gpu" in k}
    assert memory == {f"system/gpu_{i}_memory_usage_megabytes" for i in seen}
    assert gpu_use(means) == gpu_use(latest) == use
