"""What training asks of its data (two protocols), and the way of a batch onto the device.

Data are numpy: a worker process can make them without torch, and memory-mapped files give views.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class Batch(Protocol):
    """One batch: x (B, L, d_input) or (B, L); y (B, ...); lengths (B,) int; dt (B, L) float.

    rate: the sampling step relative to that of training. Integer x that is not tokens may come
    with `scale` and `shift`: the model gets x * scale + shift, computed on the device.
    With pairs, x, lengths and dt have 2 B rows and y has B.
    """

    @property
    def x(self) -> Array: ...
    @property
    def y(self) -> Array: ...
    @property
    def lengths(self) -> Array | None: ...
    @property
    def dt(self) -> Array | None: ...
    @property
    def rate(self) -> float: ...


class TrainData(Protocol):
    """A data set: each call gives the same batches for the same arguments."""

    def size(self, split: str) -> int:
        """Examples in the split."""
        ...

    def batches(
        self, split: str, *, batch_size: int, epoch: int, seed: int, shuffle: bool
    ) -> Iterator[Batch]:
        """The batches of one pass; when distributed, `rank` and `world` are passed too."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensors:
    """A batch as tensors on the device, ready for the model."""

    x: Tensor
    y: Tensor
    lengths: Tensor | None
    dt: Tensor | None
    rate: float

    @property
    def size(self) -> int:
        """Examples in the batch."""
        return int(self.y.shape[0])


def to_device(batch: Batch, device: torch.device, *, tokens: bool) -> Tensors:
    """Copy a batch to `device`: tokens and classes as int64, everything else as float32."""
    x = _tensor(batch.x, device)
    x = x.long() if tokens else x.float()
    scale, shift = getattr(batch, "scale", None), getattr(batch, "shift", None)
    if scale is not None:
        x = x * _tensor(np.asarray(scale, np.float32), device)
    if shift is not None:
        x = x + _tensor(np.asarray(shift, np.float32), device)
    y = _tensor(batch.y, device)
    lengths = None if batch.lengths is None else _tensor(batch.lengths, device).long()
    return Tensors(
        x=x,
        y=y.float() if y.is_floating_point() else y.long(),
        lengths=lengths,
        dt=None if batch.dt is None else _tensor(batch.dt, device).float(),
        rate=float(batch.rate),
    )


def _tensor(array: Array, device: torch.device) -> Tensor:
    # torch warns about read-only memory (a memory map) though it would only be read.
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if device.type == "cuda":
        # A copy from memory that is not pinned would wait for everything the GPU has to do. torch
        # keeps the pinned block until the copy has ended, so nobody has to hold it here.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
