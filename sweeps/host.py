"""What a trial takes of its machine: processor, memory and GPU use, as means over an epoch.

Sampled by a thread every two seconds (about 1 ms each time), so that training does not notice.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import psutil

INTERVAL_S = 2.0


class HostSampler:
    """A context manager whose `take` gives the means since it was last called.

    The names are those under which MLflow shows a run's system metrics. Processor use is that of
    this process: 100 is one core. GPUs are the machine's, where nvidia-ml-py is installed.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._samples: dict[str, list[float]] = {}
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
        with self._guard:
            for name, value in values.items():
                self._samples.setdefault(name, []).append(value)


def _gpu_reader() -> Callable[[], Iterator[tuple[str, float]]]:
    """How to read the GPUs of this machine; reads nothing where there is none."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
    except Exception:  # not installed, or no driver: pynvml.NVMLError, whose class we may not have
        return lambda: iter(())

    def read() -> Iterator[tuple[str, float]]:
        for i in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(i)
            use = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
            yield f"system/gpu_{i}_utilization_percentage", float(use)
            used = pynvml.nvmlDeviceGetMemoryInfo(gpu).used
            yield f"system/gpu_{i}_memory_usage_megabytes", used / 1e6

    return read
