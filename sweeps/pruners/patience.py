"""Stops a trial that has not improved for so many epochs, beside whatever another pruner says.

This is patience as users mean it. Optuna's PatientPruner is something else: it lets a pruner act
only once a trial got *worse*, and never stops one that is flat. `train.patience` does the same in
the trainer; as a pruner it marks the trial as PRUNED, and `then` may judge it as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from s4core.config import config

from .. import catalog
from ..space import Space
from ..types import Objective
from . import need_one_objective


@config
class Options:
    """epochs: without an improvement by more than min_delta. then: another pruner, asked too."""

    epochs: int = 5
    min_delta: float = 0.0
    then: Literal["none", "median", "asha", "hyperband"] = "none"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.min_delta < 0:
            raise ValueError("need epochs >= 1 and min_delta >= 0.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse several objectives."""
    need_one_objective(objectives)


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    module = catalog.load("pruners", options.then)
    return PatiencePruner(options, module.build(module.Options(), epochs))


class PatiencePruner(BasePruner):
    """Prunes when `epochs - best epoch >= patience`, or when the other pruner does."""

    def __init__(self, options: Options, other: BasePruner) -> None:
        self._options = options
        self._other = other

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Judge the curve so far."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        best, best_epoch = math.inf, 0
        for epoch, value in sorted(trial.intermediate_values.items()):
            if sign * value < best - self._options.min_delta:
                best, best_epoch = sign * value, epoch
        last = trial.last_step or 0
        return last - best_epoch >= self._options.epochs or self._other.prune(study, trial)
