"""CMA-ES (Hansen 2016): continuous parameters that interact; choices are drawn at random.

So are parameters that exist only in some blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler, CmaEsSampler

from s4core.config import config

from ..space import Space, is_number
from ..types import Objective


@config
class Options:
    """startup: trials drawn at random first. sigma: first step relative to the range; None is 1/6.

    population: trials a generation; None is 4 + 3 ln(parameters).
    """

    startup: int = 10
    sigma: float | None = None
    population: int | None = None

    def __post_init__(self) -> None:
        if self.startup < 1 or (self.population is not None and self.population < 2):
            raise ValueError("need startup >= 1 and population >= 2.")
        if self.sigma is not None and self.sigma <= 0:
            raise ValueError(f"need sigma > 0, got {self.sigma}.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives, and a space without two numbers."""
    if len(objectives) > 1:
        raise ValueError("cmaes has one objective; with several, use tpe or nsga2.")
    numbers = set.intersection(
        *({n for n, d in p.distributions.items() if is_number(d)} for p in space.corners())
    )
    if len(numbers) < 2:
        raise ValueError(
            f"cmaes wants two or more numeric ranges that all trials have, got {len(numbers)}."
        )


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return CmaEsSampler(
        n_startup_trials=options.startup,
        sigma0=options.sigma,
        popsize=options.population,
        seed=seed,
        warn_independent_sampling=False,
    )
