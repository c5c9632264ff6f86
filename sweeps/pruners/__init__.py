"""The pruners: one file each, this folder is the registry.

A file holds `Options` (a @config dataclass), `check(options, space, objectives)`, which raises
ValueError for a sweep that the pruner cannot judge, and `build(options, epochs)`, which gives an
Optuna pruner for trials of at most so many epochs. Steps are epochs, counted from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner

import s4core

from .. import catalog
from ..files import options_of
from ..space import Space
from ..spec import SweepSpec
from ..types import Objective


def need_one_objective(objectives: Sequence[Objective]) -> None:
    """Refuse several objectives: there is no order in which a trial could be the worse one."""
    if len(objectives) > 1:
        raise ValueError("pruning needs a single objective; with several, use pruner: none.")


def need_rung(first: int, space: Space) -> None:
    """Refuse a first rung at which every trial has ended: nothing would ever be pruned."""
    if first >= (epochs := most_epochs(space)):
        raise ValueError(f"need a first rung before the last epoch, got {first} of {epochs}.")


def most_epochs(space: Space) -> int:
    """The most epochs that a trial may have."""
    given = [point.config["train"].get("epochs") for point in space.corners()]
    return max(e if isinstance(e, int) else s4core.TrainConfig().epochs for e in given)


def pruner_of(spec: SweepSpec) -> BasePruner:
    """Make the pruner of a sweep, for trials of the most epochs that its space allows."""
    named = spec.search.pruner
    module = catalog.load("pruners", named["name"])
    options = module.Options(**options_of(named))
    pruner = module.build(options, most_epochs(spec.space))
    assert isinstance(pruner, BasePruner)
    return pruner
