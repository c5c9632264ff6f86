"""What a Ray that this process started does to it."""

from __future__ import annotations

import subprocess
import sys

import pytest

DIES = """
import os, signal, time, ray
from cluster.runtime import ray_running

@ray.remote(max_retries=0)
def dies():
    os.kill(os.getpid(), signal.SIGKILL)

with ray_running(None, cpus=1):
    try:
        ray.get(dies.remote())
    except ray.exceptions.WorkerCrashedError:
        print("it died")
    time.sleep(3)  # a second later Ray tells all drivers
"""


@pytest.mark.ray
def test_ray_prints_nothing_of_a_dead_worker_among_our_lines() -> None:
    """Its thread's words could end up inside of a line of --json."""
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True)
    assert done.stdout == "it died\n", done.stderr
