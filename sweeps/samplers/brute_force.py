"""Every configuration of a space that can be counted, in random order (grid goes in order)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from optuna.samplers import BaseSampler

from s4core.config import config

from ..space import Space
from ..types import Objective
from .grid import GridSampler


@config
class Options:
    """None."""


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse a continuous range, which has no last value."""
    for _ in space.grid(None):
        pass


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    points = list(space.grid(None))
    random.Random(0).shuffle(points)  # the same order for every driver of a sweep
    return GridSampler(points)
