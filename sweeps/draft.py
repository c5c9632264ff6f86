"""A trial before it exists: sampled in memory, looked at, and only then written - or thrown away.

Optuna's own `ask` writes the trial first and then each parameter as it is suggested, so that a
repeated or forbidden configuration is in the study for ever; and every write waits for the disk.
Here the sampler's documented methods are called in the order in which Optuna calls them, with a
storage that keeps what they want to note about the trial; an accepted draft is one write.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from .nodes import Scalar
from .space import Point, ends

DRAFT_ID = -1
FIXED = "fixed_params"  # the system attribute in which Optuna keeps what `enqueue_trial` gives

Resolve = Callable[[Callable[[str, BaseDistribution], Any]], Point]


class Draft:
    """One sampled configuration: its `point`, and the frozen trial that `create` will write."""

    def __init__(
        self,
        study_name: str,
        storage: BaseStorage,
        sampler: BaseSampler,
        resolve: Resolve,
        *,
        number: int,
        fixed: dict[str, Scalar] | None = None,
    ) -> None:
        self.trial = FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.datetime.now(datetime.UTC),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={FIXED: fixed} if fixed else {},
            intermediate_values={},
            trial_id=DRAFT_ID,
        )
        self._fixed = fixed or {}
        overlay = cast(BaseStorage, _Overlay(storage, self.trial))
        self._study = optuna.Study(study_name, overlay, sampler=sampler)
        sampler.before_trial(self._study, self.trial)
        space = sampler.infer_relative_search_space(self._study, self.trial)
        self._relative = sampler.sample_relative(self._study, self.trial, space)
        self.point = resolve(self._suggest)

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name in self._fixed:
            value = self._fixed[name]
        elif distribution.single():
            value = ends(distribution)[0]
        elif name in self._relative and _holds(distribution, self._relative[name]):
            value = self._relative[name]
        else:
            value = self._study.sampler.sample_independent(
                self._study, self.trial, name, distribution
            )
        self.trial.params = {**self.trial.params, name: value}
        self.trial.distributions = {**self.trial.distributions, name: distribution}
        return value


class _Overlay:
    """The storage of a study, plus one trial that is not in it."""

    def __init__(self, storage: BaseStorage, trial: FrozenTrial) -> None:
        self._storage = storage
        self._trial = trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._trial if trial_id == DRAFT_ID else self._storage.get_trial(trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id == DRAFT_ID:
            self._trial.system_attrs = {**self._trial.system_attrs, key: value}
        else:
            self._storage.set_trial_system_attr(trial_id, key, value)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False
