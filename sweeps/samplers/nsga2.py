"""NSGA-II (Deb et al. 2002): a genetic search for two or three objectives."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler, NSGAIISampler

from s4core.config import config

from ..space import Space
from ..types import Objective


@config
class Options:
    """population: configurations a generation; mutation: probability of a parameter, None is 1 / n;
    crossover: probability that a child has two parents.
    """

    population: int = 50
    mutation: float | None = None
    crossover: float = 0.9

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ValueError(f"need population >= 2, got {self.population}.")
        for name in ("mutation", "crossover"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"need {name} in [0, 1], got {value}.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Take any space."""


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return NSGAIISampler(
        population_size=options.population,
        mutation_prob=options.mutation,
        crossover_prob=options.crossover,
        seed=seed,
    )
