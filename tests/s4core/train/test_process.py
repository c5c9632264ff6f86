"""What a process is given before it trains."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from s4core.train.process import tune_process, reset_process
{prepare}
def use():
    torch.ones(1 << 24) + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(prepare):
    command = [sys.executable, "-c", FAULTS.format(prepare=prepare)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("prepare", ["tune_process()", "reset_process(threads=1)"])
def test_freed_memory_stays_with_the_process(prepare):
    """Forty tensors of 64 MB are 655,360 pages of 4 kB; the heap grows a few times to hold two."""
    assert faults(prepare) * 2 < faults("pass")


DENORMALS = """
import torch
from s4core.train.process import reset_process
reset_process(threads=2)
small = torch.full((1 << 20,), 1e-30)
print((small * 1e-12).count_nonzero().item())
"""


def test_denormal_numbers_are_zero_in_every_thread():
    command = [sys.executable, "-c", DENORMALS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0"]


TRIALS = """
import gc, weakref, torch
from s4core import TaskShape, build
from s4core.train.process import reset_process
gc.disable()
reset_process()
left = []
for _ in range(3):
    shape = TaskShape(d_input=1, d_output=2, length=8)
    model = build({"name": "s4d", "d_model": 4, "n_layers": 1}, shape)
    model.loop = [model]
    model(torch.randn(1, 8, 1)).sum().backward()
    left.append(weakref.ref(model))
    del model
    reset_process()
print(sum(ref() is not None for ref in left), gc.get_freeze_count() > 100_000)
"""


def test_nothing_of_a_trial_outlives_the_reset():
    """Cycles too, though what the process itself has is not looked at again."""
    command = [sys.executable, "-c", TRIALS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0", "True"]
