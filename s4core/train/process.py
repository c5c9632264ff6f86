"""Make a process that has trained one model fit to train the next (and a fresh one fit to begin).

A worker that is kept costs 0.13 s a trial (docs/scale.md), a new one seconds of imports; the price
is that nothing of the trial before may be left: freed tensors, cached device memory, thread counts,
memory caps.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist

# glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def tune_process() -> None:
    """Let this process keep the memory that it frees, and take denormal numbers for zero.

    Memory (glibc; elsewhere nothing is done): by default each large temporary is mapped and
    unmapped again: a training step of S4D with B = 16, H = 128, L = 1024 has 18,000 to 70,000 page
    faults, a tenth to a fifth of its time, and 2,000 with this. What stays is the peak of what was
    in use.
    Denormals, below 1e-38 in float32: Intel's cores take a hundred times as long for them. The
    operations are without them in any case, in the thread that calls them; threads that are made
    later, gradients that have all but vanished and their squares are so by this.
    """
    torch.set_flush_denormal(True)
    if (mallopt := _of_libc("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 * 2**20)


def reset_process(*, threads: int | None = None, gpu_fraction: float = 1.0) -> None:
    """Drop what the last trial left behind and set this process's share of the machine.

    For processes that only train: nothing that lives now is looked at by a later collection.

    threads: intra-op CPU threads; None leaves them as they are. One per CPU that the trial was
    given: two trials with two threads each on two cores run several times slower than with one.
    gpu_fraction: share of the device's memory that this process may allocate, in (0, 1]; beyond it
    allocation raises torch.OutOfMemoryError here, and not in the neighbour on the same device.
    """
    if not 0.0 < gpu_fraction <= 1.0:
        raise ValueError(f"need 0 < gpu_fraction <= 1, got {gpu_fraction=}.")
    tune_process()
    gc.collect()
    # What is still there (400,000 objects of torch and its like) is the process's own: to look at
    # it once more for each trial would take 0.4 s.
    gc.freeze()
    _give_memory_back()
    if threads is not None:
        torch.set_num_threads(max(1, threads))
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(gpu_fraction)


def _give_memory_back() -> None:
    """Return freed memory to the system (glibc; elsewhere malloc does as it sees fit).

    It may be told to keep it, for speed; then what the last trial held would count as the next's,
    and a limit that one trial broke would be broken by all that follow it.
    """
    if (malloc_trim := _of_libc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of the C library, if it has it: musl has none of glibc's for its allocator."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def join_group(
    *, rank: int, world: int, address: str, device: str | None = None, timeout_s: float = 120.0
) -> None:
    """Become process `rank` of `world` that train one model together, by torch.distributed.

    address: host:port that rank 0 listens on. NCCL if there is a CUDA device and `device` is not
    "cpu", else gloo. Blocks until all have joined; raises after `timeout_s`, and when one of them
    is lost in a collective.
    """
    dist.init_process_group(
        "nccl" if device != "cpu" and torch.cuda.is_available() else "gloo",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=timeout_s),
    )


def leave_group() -> None:
    """Leave the group that `join_group` joined, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
