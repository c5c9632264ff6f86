"""Peak memory of one epoch and time of one step, on the device that trains."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew (on CPUs: Linux only)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        try:
            _CLEAR.write_text("5")
        except OSError:  # not allowed in some containers: the peak is then that of the process
            return


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use since `reset_peak_memory`, in MB (1e6 bytes).

    On a CPU it is that of the whole process, and since its start where Linux's /proc is missing.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource  # absent on Windows

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def synchronize(device: torch.device) -> None:
    """Wait for what the device has to do, so that a clock tells of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
