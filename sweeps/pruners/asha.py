"""Asynchronous successive halving (Li et al., arXiv:1810.05934): at epochs `min_epochs * factor^k`
only the best 1/factor of the trials that got so far go on; nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from s4core.config import config

from ..space import Space
from ..types import Objective
from . import need_one_objective, need_rung


@config
class Options:
    """min_epochs: the first rung; None is epochs / factor^2, so that there are two or three rungs.

    factor: one of so many goes on. startup: trials that pass a rung before it stops any.
    """

    min_epochs: int | None = None
    factor: int = 3
    startup: int = 0

    def __post_init__(self) -> None:
        if self.min_epochs is not None and self.min_epochs < 1:
            raise ValueError(f"need min_epochs >= 1, got {self.min_epochs}.")
        if self.factor < 2 or self.startup < 0:
            raise ValueError("need factor >= 2 and startup >= 0.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives, and rungs that no trial reaches."""
    need_one_objective(objectives)
    if options.min_epochs is not None:
        need_rung(options.min_epochs, space)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    first = options.min_epochs or max(1, round(epochs / options.factor**2))
    return SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=options.factor, bootstrap_count=options.startup
    )
