"""What `s4core.inspect` says of systems whose kernels and poles are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import s4core
from s4core import TaskShape, TrainConfig
from s4core.inspect import confusion, poles, portraits
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.dplr import DplrOptions, DplrSSM


class Signs:
    """Sequences whose label is the sign of their mean."""

    def size(self, split: str) -> int:
        return 40

    def batches(self, split, *, batch_size, epoch, seed, shuffle):
        rng = np.random.default_rng(len(split))
        y = rng.integers(0, 2, 40)
        x = rng.normal(size=(40, 12, 1)) + (2 * y - 1)[:, None, None]
        for i in range(0, 40, batch_size):
            part = slice(i, i + batch_size)
            yield Batch(x[part].astype(np.float32), y[part])


class Batch:
    lengths = dt = None
    rate = 1.0

    def __init__(self, x, y):
        self.x, self.y = x, y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("trial")
    shape = TaskShape(d_input=1, d_output=2, length=12)
    model = {"name": "s4d", "d_model": 8, "n_layers": 2, "d_state": 8}
    train = TrainConfig(epochs=3, batch_size=10, lr=0.01)
    list(s4core.fit(model, shape, train, Signs(), where))
    return where


def test_the_poles_of_a_diagonal_system_are_its_discrete_modes_and_their_conjugates() -> None:
    system = DiagonalSSM(4, DiagonalOptions(d_state=8))
    with torch.no_grad():
        A_bar = system.discretize()[0].to(torch.complex128).numpy()
        found = poles(system, features=4)
    assert found.shape == (4, 8)
    for mine, known in zip(found, A_bar, strict=True):
        both = np.concatenate([known, known.conj()])
        distance = np.abs(np.sort_complex(mine.round(6)) - np.sort_complex(both.round(6)))
        assert distance.max() < 1e-5  # the system steps in float32


def test_the_kernel_of_a_low_rank_system_follows_from_its_poles() -> None:
    """K obeys the recurrence whose characteristic polynomial has these roots (Cayley-Hamilton)."""
    system = DplrSSM(2, DplrOptions(d_state=4), l_max=64).double()
    with torch.no_grad():
        kernel = system.kernel(64)[0].numpy()
        found = poles(system, features=2)
    for h in range(2):
        a = np.poly(found[h]).real  # 1, a1, ..., a4
        predicted = -sum(a[j] * kernel[h, 4 - j + 1 : 64 - j] for j in range(1, 5))
        assert np.abs(predicted - kernel[h, 5:]).max() < 1e-6 * np.abs(kernel[h]).max()


def test_a_trained_model_is_portrayed_layer_by_layer(folder: Path) -> None:
    found = portraits(folder, length=20)
    assert len(found) == 2
    assert found[0].kernel.shape == (8, 20)
    assert np.abs(found[0].poles).max() < 1  # stable


def test_a_long_split_is_not_read_to_its_end(folder: Path) -> None:
    assert confusion(folder, Signs(), "val", seconds=-1).sum() == 0


def test_the_confusion_matrix_counts_every_example_once(folder: Path) -> None:
    counts = confusion(folder, Signs(), "val")
    assert counts.sum() == 40
    scored = s4core.evaluate(folder, Signs(), "val")
    assert np.trace(counts) / 40 == pytest.approx(scored["val/accuracy"])
