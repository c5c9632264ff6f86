"""A pendulum seen in noisy pictures at irregular times: where does it hang?

Simulated here from the task's description: a damped pendulum kicked at random, drawn in 24 x 24
pixels, a noise that comes and goes slowly, and half of the 100 moments kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.arrow import Column
from data_prep.card import TaskInfo
from data_prep.datasets import _synthetic as synthetic
from data_prep.registry import Raw
from data_prep.transforms import Dense, Stored, View

SIDE = 24
MOMENTS = 100
DT, SUBSTEPS = 0.1, 10  # seconds a moment, integration steps a moment
GRAVITY, DAMPING, KICK = 9.81, 0.1, 2.0  # per length, per second, rad/s a sqrt(second)

CARD = dataclasses.replace(
    synthetic.card(
        "pendulum",
        "Pendulum regression at irregular times",
        citation="Schirmer et al. 2022, arXiv:2111.11344; Smith et al. 2023, S5, arXiv:2208.04933",
        shapes="x (points, 576) pictures with dt (points,); sine and cosine of the angle at each",
        units="pixel / 255; dt in tenths of a second",
        cached_bytes=117_600_000,
    ),
    differs=(
        "the published files are made by other code (of a licence that cannot be used here), so "
        "errors cannot be compared digit by digit.",
    ),
    splits={"train": 2_000, "val": 1_000, "test": 1_000},
)
SHARD_ROWS, sizes = 100, synthetic.sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(synthetic.Sizes):
    """points: moments kept of 100."""

    train: int = 2_000
    points: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.points <= MOMENTS:
            raise ValueError(f"need 2 <= points <= {MOMENTS}, got {self.points}.")


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is the pictures, the time since the one before each, and the targets."""
    points = raw.options.points
    return {
        "x": Column("uint8", (points, SIDE * SIDE)),
        "dt": Column("float32", (points,)),
        "y": Column("float32", (points, 2)),
    }


def generate(options: Options, split: str, shard: int) -> Iterator[Mapping[str, Any]]:
    """Simulate the pendulums of a shard."""
    random = synthetic.random_of("pendulum", options.seed, split, shard)
    for _ in range(SHARD_ROWS):
        angles = swing(random)
        kept = np.sort(random.permutation(MOMENTS)[: options.points])
        clear = noise_level(random)
        pictures = picture(angles)
        noise = random.random_sample(pictures.shape)
        mixed = clear[:, None] * pictures + (1 - clear[:, None]) * noise
        yield {
            "x": np.round(255 * mixed[kept]).astype(np.uint8),
            "dt": np.diff(kept, prepend=kept[0] - 1).astype(np.float32),
            "y": np.stack([np.sin(angles[kept]), np.cos(angles[kept])], axis=1),
        }


def swing(random: np.random.RandomState) -> np.ndarray:
    """Return the angle (100,) of one pendulum, radians from hanging straight down."""
    angle, speed = random.uniform(-np.pi, np.pi), random.uniform(-1, 1)
    step = DT / SUBSTEPS
    kicks = random.standard_normal((MOMENTS, SUBSTEPS)) * KICK * np.sqrt(step)
    angles = np.empty(MOMENTS)
    for moment in range(MOMENTS):
        angles[moment] = angle
        for kick in kicks[moment]:
            # Semi-implicit Euler keeps the energy of a swinging pendulum bounded.
            speed += (-GRAVITY * np.sin(angle) - DAMPING * speed) * step + kick
            angle += speed * step
    return angles


def picture(angles: np.ndarray) -> np.ndarray:
    """Return pictures (len(angles), 576) in [0, 1]: a bright disc on a rod of 8 pixels."""
    row, column = np.mgrid[:SIDE, :SIDE].reshape(2, 1, -1)
    middle, rod, radius = (SIDE - 1) / 2, 8.0, 2.0
    y = middle + rod * np.cos(angles)[:, None]
    x = middle + rod * np.sin(angles)[:, None]
    distance = np.hypot(row - y, column - x)
    return np.asarray(np.clip(radius + 0.5 - distance, 0, 1), np.float64)


def noise_level(random: np.random.RandomState) -> np.ndarray:
    """Return how clear the picture is at each of 100 moments: a slow walk within [0, 1]."""
    walk = random.uniform() + np.cumsum(random.uniform(-0.2, 0.2, MOMENTS))
    folded: np.ndarray = np.abs((walk + 1) % 2 - 1)
    low, high = 0.25, 0.75  # below: only noise; above: quite clear
    return np.clip((folded - low) / (high - low), 0, 1)


def view(stored: Stored) -> View:
    """Read pictures with their times."""
    task = TaskInfo(
        d_input=SIDE * SIDE,
        d_output=2,
        length=stored.options.points,
        target="step_value",
        irregular=True,
    )
    return View(task=task, read=Dense(channels=SIDE * SIDE, scale=(1 / 255,)))
