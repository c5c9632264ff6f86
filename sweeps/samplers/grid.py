"""All combinations, in the order in which the YAML lists them; continuous ranges get `points`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from s4core.config import config

from ..draft import FIXED
from ..errors import Exhausted
from ..nodes import Scalar
from ..space import Space
from ..types import Objective

KEY = "grid:index"


@config
class Options:
    """points: values tried of each continuous range, ends included."""

    points: int = 3

    def __post_init__(self) -> None:
        if self.points < 2:
            raise ValueError(f"need points >= 2, got {self.points}.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse a grid that nobody can have meant."""
    for count, _ in enumerate(space.grid(options.points), start=1):
        if count > 1_000_000:
            raise ValueError("a grid of more than 1,000,000 points; narrow it or sample it.")


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler."""
    return GridSampler(list(space.grid(options.points)))


class GridSampler(BaseSampler):
    """Gives each draft the first point of the grid that no trial has taken.

    One that was enqueued takes a point with the values that it gives, if there is one left.
    """

    def __init__(self, points: Sequence[Mapping[str, Scalar]]) -> None:
        self._points = points
        self._next = 0

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the point; raises Exhausted when there is none left."""
        fixed = trial.system_attrs.get(FIXED, {}).items()
        taken = {t.system_attrs.get(KEY) for t in study.get_trials(deepcopy=False)}
        for index in range(self._next, len(self._points)):
            if index not in taken and fixed <= self._points[index].items():
                break
        else:
            raise Exhausted(f"all {len(self._points)} points of the grid have been tried")
        study._storage.set_trial_system_attr(trial._trial_id, KEY, index)
        if not fixed:
            self._next = index + 1

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled relatively."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is sampled relatively."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Look the value up."""
        return self._points[trial.system_attrs[KEY]][param_name]
