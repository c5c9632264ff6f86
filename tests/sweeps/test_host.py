from __future__ import annotations

import threading
import time

from sweeps.host import HostSampler


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
