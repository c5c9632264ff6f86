"""The GPUs that this process can use."""

from __future__ import annotations

import torch


def gpu_names() -> list[str]:
    """Name and memory of each, "NVIDIA H100 80GB HBM3, 79.1 GiB"; [] where there is none."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{device.name}, {device.total_memory / 2**30:.1f} GiB" for device in found]
