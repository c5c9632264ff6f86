"""Successive halving as Optuna has it by default: rungs at `min_epochs * factor^(k + early)`.

`asha` is the same with rungs that follow from the epochs of a trial; take that one unless you want
to set the rungs.
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
    """min_epochs: of the first rung; factor: one of so many goes on; early: rungs left out at the
    beginning; startup: trials that pass a rung before it stops any.
    """

    min_epochs: int = 1
    factor: int = 4
    early: int = 0
    startup: int = 0

    def __post_init__(self) -> None:
        if self.min_epochs < 1 or self.factor < 2 or self.early < 0 or self.startup < 0:
            raise ValueError("need min_epochs >= 1, factor >= 2, early >= 0 and startup >= 0.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives, and rungs that no trial reaches."""
    need_one_objective(objectives)
    need_rung(options.min_epochs * options.factor**options.early, space)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    return SuccessiveHalvingPruner(
        min_resource=options.min_epochs,
        reduction_factor=options.factor,
        min_early_stopping_rate=options.early,
        bootstrap_count=options.startup,
    )
