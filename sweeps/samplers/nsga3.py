"""NSGA-III (Deb and Jain 2014): a genetic search for four or more objectives."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIIISampler

from ..space import Space
from .nsga2 import Options
from .nsga2 import check as check


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return NSGAIIISampler(
        population_size=options.population,
        mutation_prob=options.mutation,
        crossover_prob=options.crossover,
        seed=seed,
    )
