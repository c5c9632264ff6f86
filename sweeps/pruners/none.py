"""Never prunes: trials end by their epochs or by patience."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner, NopPruner

from s4core.config import config

from ..space import Space
from ..types import Objective


@config
class Options:
    """None."""


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Take any sweep."""


def build(options: Options, epochs: int) -> BasePruner:
    """Make the pruner."""
    return NopPruner()
