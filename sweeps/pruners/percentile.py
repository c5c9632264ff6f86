"""Stops a trial whose best value so far is outside of the best `percentile` % at that epoch."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, PercentilePruner

from s4core.config import config

from ..space import Space
from ..types import Objective
from . import need_one_objective


@config
class Options:
    """percentile: share (%) that goes on, 50 is the median. startup: trials that end before any is
    stopped; warmup: epochs that are never judged.
    """

    percentile: float = 25.0
    startup: int = 5
    warmup: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise ValueError(f"need 0 < percentile < 100, got {self.percentile}.")
        if self.startup < 0 or self.warmup < 0:
            raise ValueError("need startup >= 0 and warmup >= 0.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives."""
    need_one_objective(objectives)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    # Optuna judges from step n_warmup_steps on.
    return PercentilePruner(
        options.percentile, n_startup_trials=options.startup, n_warmup_steps=options.warmup + 1
    )
