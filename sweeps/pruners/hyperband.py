"""Hyperband (Li et al., arXiv:1603.06560): successive halving in several brackets, which differ in
how early they judge; for when it is unknown how soon a curve tells anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, HyperbandPruner

from s4core.config import config

from ..space import Space
from ..types import Objective
from . import need_one_objective, need_rung


@config
class Options:
    """min_epochs: the earliest rung of the earliest bracket. factor: one of so many goes on."""

    min_epochs: int = 1
    factor: int = 3

    def __post_init__(self) -> None:
        if self.min_epochs < 1 or self.factor < 2:
            raise ValueError("need min_epochs >= 1 and factor >= 2.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives, and rungs that no trial reaches."""
    need_one_objective(objectives)
    need_rung(options.min_epochs, space)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    return HyperbandPruner(
        min_resource=options.min_epochs, max_resource=epochs, reduction_factor=options.factor
    )
