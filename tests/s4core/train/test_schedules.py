"""Schedules as tables, and against the published S5 sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s4core.train.config import TrainConfig
from s4core.train.patience import Best
from s4core.train.schedules import Plateau, learning_rate

GOLDEN = Path(__file__).parents[2] / "golden"


def rates(train: TrainConfig, base: float = 1.0, steps_per_epoch: int = 2) -> list[float]:
    return [
        round(learning_rate(train, base, step=s, steps_per_epoch=steps_per_epoch), 4)
        for s in range(train.epochs * steps_per_epoch)
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "constant", "warmup": 2.0}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ({"schedule": "linear", "lr_min": 0.6}, [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65]),
        ({"schedule": "linear", "schedule_epochs": 2}, [1, 0.75, 0.5, 0.25, 0, 0, 0, 0]),
        ({"schedule": "cosine"}, [1, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]),
        ({"schedule": "cosine", "warmup": 1.0}, [0.5, 1, 1, 0.933, 0.75, 0.5, 0.25, 0.067]),
        ({"schedule": "step", "decay_epochs": 2, "decay_factor": 0.1}, [1, 1, 1, 1, *[0.1] * 4]),
        ({"schedule": "exponential", "decay_epochs": 1, "decay_factor": 0.25},
         [1, 0.5, 0.25, 0.125, 0.0625, 0.0312, 0.0156, 0.0078]),
        ({"schedule": "inverse_sqrt", "warmup": 2.0},
         [0.25, 0.5, 0.75, 1, 0.8944, 0.8165, 0.7559, 0.7071]),
    ],
)  # fmt: skip
def test_the_rate_of_each_step(settings, expected):
    assert rates(TrainConfig(epochs=4, lr=1.0, **settings)) == expected


def test_a_group_that_is_slower_than_the_floor_stays_as_it_is():
    train = TrainConfig(epochs=4, lr=1.0, lr_min=0.5, schedule="cosine")
    assert rates(train, base=0.1) == [0.1] * 8
    published = TrainConfig(epochs=4, lr=1.0, lr_min=0.5, schedule="s5")
    assert rates(published, base=0.1) == [0.1] * 8
    assert rates(published, base=0.0) == [0.0] * 8


def test_a_warm_up_of_less_than_a_step_goes_no_higher_than_the_rate():
    assert max(rates(TrainConfig(epochs=4, lr=1.0, warmup=0.1, schedule="s5"))) == 1.0


@pytest.mark.parametrize(
    ("key", "warmup", "lr_min"),
    [
        ("spe10_ep6_warm1_base8e-3", 1.0, 0.0),
        ("spe10_ep6_warm0_base8e-3", 0.0, 0.0),
        ("spe10_ep6_warm2_base8e-3_min1e-4", 2.0, 1e-4),
    ],
)
def test_the_s5_schedule_is_the_published_one(key, warmup, lr_min):
    """The published values are those written after each step, so the next step uses them."""
    written = np.load(GOLDEN / "s5_optim.npz")[f"sched/{key}"]
    train = TrainConfig(epochs=6, lr=8e-3, warmup=warmup, lr_min=lr_min, schedule="s5")
    used = [learning_rate(train, 8e-3, step=s, steps_per_epoch=10) for s in range(61)]
    assert used[0] == 8e-3
    np.testing.assert_allclose(used[1:], written, atol=1e-9)  # they were float32


@pytest.mark.parametrize(
    ("warmup", "values", "factors"),
    [
        # decay_epochs 2, factor 0.5; the factor after each epoch's objective
        (0.0, [0.1, 0.2, 0.2, 0.1, 0.1, 0.1], [1, 1, 1, 0.5, 0.5, 0.25]),
        (0.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 1, 1, 1, 1, 1]),
        (3.0, [0.2, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 1, 1, 1, 0.5, 0.5]),  # warm-up does not count
    ],
)
def test_plateau(warmup, values, factors):
    train = TrainConfig(
        epochs=9, schedule="plateau", warmup=warmup, decay_factor=0.5, decay_epochs=2
    )
    plateau = Plateau(best=Best(mode="max"))
    seen = []
    for epoch, value in enumerate(values, start=1):
        plateau.update(train, epoch, value)
        seen.append(plateau.factor)
    assert seen == factors
