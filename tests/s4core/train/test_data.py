"""A batch on its way to the device."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from s4core.train.data import to_device

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@dataclasses.dataclass
class Batch:
    """As a data set gives it, stored integers with their scale and shift."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    lengths: np.ndarray | None = None
    dt: np.ndarray | None = None
    rate: float = 1.0


DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, on_a_gpu])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "top"), [(np.int16, 32767), (np.uint8, 255)])
def test_stored_integers_are_scaled_where_they_arrive(device, dtype, top):
    stored = np.random.RandomState(0).randint(0, top, (3, 50, 2)).astype(dtype)
    scale, shift = np.array([0.5, 2.0]), np.array([1.0, -1.0], np.float32)
    batch = Batch(x=stored, y=np.arange(3), scale=scale, shift=shift)
    tensors = to_device(batch, torch.device(device), tokens=False)
    assert tensors.x.device.type == device and tensors.x.dtype == torch.float32
    np.testing.assert_allclose(tensors.x.cpu(), stored * scale + shift, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_stored_tokens_widen_where_they_arrive(device, dtype):
    stored = np.arange(150).reshape(3, 50).astype(dtype)
    tensors = to_device(Batch(x=stored, y=np.arange(3)), torch.device(device), tokens=True)
    assert tensors.x.device.type == device and tensors.x.dtype == torch.int64
    np.testing.assert_array_equal(tensors.x.cpu(), stored)


@pytest.mark.gpu
@on_a_gpu
def test_what_is_under_way_is_not_changed_by_what_comes_after():
    """The array and the pinned block may serve the next batch before the copy has ended."""
    array, y = np.empty((64, 16_000, 1), np.float32), np.zeros(64, np.int64)
    busy = torch.randn(4096, 4096, device="cuda")
    arrived = []
    for number in range(32):
        array[:] = number
        for _ in range(4):
            busy = torch.tanh(busy @ busy)
        arrived.append(to_device(Batch(x=array, y=y), torch.device("cuda"), tokens=False).x)
    for number, x in enumerate(arrived):
        assert bool((x == number).all())
