"""A pruner that nobody satisfies: every trial is stopped after its first epoch."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, ThresholdPruner

from s4core.config import config
from sweeps.space import Space
from sweeps.types import Objective


@config
class Options:
    """None."""


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Anything goes."""


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner: accuracies are below 2."""
    return ThresholdPruner(lower=2.0)
