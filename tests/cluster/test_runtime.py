"""What a Ray that this process started does to it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from cluster.errors import UserError
from cluster.runtime import ray_running

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


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_told_at_once(scheme: str) -> None:
    """Ray alone tries for minutes, and says nothing."""
    with socket.socket() as taken:  # bound, and so nobody else's, but not listening
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        message = f"no Ray cluster answers at {address}: .*refused"
        with pytest.raises(UserError, match=message), ray_running(address):
            pass
