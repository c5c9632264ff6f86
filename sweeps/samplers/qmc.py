"""Quasi-Monte Carlo (scrambled Sobol): fills a space of numbers more evenly than chance does.

Choices, and parameters that exist only in some blocks, are drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from optuna.samplers import BaseSampler, QMCSampler

from s4core.config import config

from ..space import Space, is_number
from ..types import Objective

# The study knows how far the sequence of its seed is: another driver goes on with it.
GOES_ON = True


@config
class Options:
    """sequence: sobol or halton; scramble: shift the points, so that seeds differ."""

    sequence: Literal["sobol", "halton"] = "sobol"
    scramble: bool = True


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse a space without numbers."""
    if not any(is_number(d) for p in space.corners() for d in p.distributions.values()):
        raise ValueError("qmc wants a numeric range; the space has only choices: use grid.")


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return QMCSampler(
        qmc_type=options.sequence,
        scramble=options.scramble,
        seed=seed,
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
    )
