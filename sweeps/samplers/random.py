"""Independent draws; what every other sampler has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler, RandomSampler

from s4core.config import config

from ..space import Space
from ..types import Objective


@config
class Options:
    """None."""


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Take any space."""


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return RandomSampler(seed=seed)
