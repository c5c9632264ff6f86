"""What a trial takes of its machine: processor, memory and GPU use, as means over an epoch.

Sampled by a thread every two seconds (about 1 ms each time), so that training does not notice.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import psutil
import pynvml

INTERVAL_S = 2.0


class HostSampler:
    """A context manager whose `take` gives the means since it was last called.

    The names are those under which MLflow shows a run's system metrics. Processor use is that of
    this process: 100 is one core. GPUs are those that CUDA_VISIBLE_DEVICES leaves to it, by their
    number on the machine.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._samples: dict[str, list[float]] = {}
        self._latest: dict[str, float] = {}
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._process = psutil.Process()
        self._gpus = _gpu_reader()
        self._thread = threading.Thread(target=self._run, name="host-sampler", daemon=True)

    def __enter__(self) -> HostSampler:
        self._process.cpu_percent()  # the first call only sets the clock
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def take(self) -> dict[str, float]:
        """Means since the last call, of at least one sample."""
        self._sample()
        with self._guard:
            samples, self._samples = self._samples, {}
        return {name: statistics.fmean(values) for name, values in samples.items()}

    def latest(self) -> dict[str, float]:
        """The last sample; {} before the first."""
        return self._latest

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        values = {
            "system/cpu_utilization_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / 1e6,
            "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
            **dict(self._gpus()),
        }
        self._latest = values
        with self._guard:
            for name, value in values.items():
                self._samples.setdefault(name, []).append(value)


def gpu_use(sample: Mapping[str, float]) -> float | None:
    """Mean use of the GPUs in a sample, in percent; None without a GPU."""
    use = [v for k, v in sample.items() if k.startswith("system/gpu_") and "utilization" in k]
    return statistics.fmean(use) if use else None


def _gpu_reader() -> Callable[[], Iterator[tuple[str, float]]]:
    """How to read the GPUs of this process; reads nothing where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return lambda: iter(())
    handles = list(_handles(os.environ.get("CUDA_VISIBLE_DEVICES")))

    def read() -> Iterator[tuple[str, float]]:
        for handle in handles:
            name = f"system/gpu_{pynvml.nvmlDeviceGetIndex(handle)}"
            with contextlib.suppress(pynvml.NVMLError_NotSupported):  # slices of a GPU (MIG)
                use = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                yield f"{name}_utilization_percentage", float(use)
            used = pynvml.nvmlDeviceGetMemoryInfo(handle).used
            yield f"{name}_memory_usage_megabytes", used / 1e6

    return read


def _handles(visible: str | None) -> Iterator[Any]:
    """The devices that CUDA shows: all of them, or those listed by number or UUID."""
    if visible is None:
        for i in range(pynvml.nvmlDeviceGetCount()):
            yield pynvml.nvmlDeviceGetHandleByIndex(i)
        return
    for word in filter(None, (w.strip() for w in visible.split(","))):
        if word == "-1":
            return
        if word.isdigit():
            yield pynvml.nvmlDeviceGetHandleByIndex(int(word))
        else:
            yield pynvml.nvmlDeviceGetHandleByUUID(word)
