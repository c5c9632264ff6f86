"""Stops a trial that is worse than the best one, epoch by epoch, by Wilcoxon's signed-rank test.

Made for steps that are instances of a problem; with epochs as steps it compares whole curves.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, WilcoxonPruner

from s4core.config import config

from ..space import Space
from ..types import Objective
from . import need_one_objective


@config
class Options:
    """p: of the test, below which a trial is stopped; startup: epochs that are never judged."""

    p: float = 0.1
    startup: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.p < 1 or self.startup < 0:
            raise ValueError("need 0 < p < 1 and startup >= 0.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives."""
    need_one_objective(objectives)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    return WilcoxonPruner(p_threshold=options.p, n_startup_steps=options.startup)
