"""The study as a table that is read and appended to: trials, and attributes of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import record
from .errors import StudyError
from .space import Point
from .spec import SweepSpec
from .storage import open_storage, quiet_optuna
from .types import SweepResult, TrialResult


class Ledger:
    """Reads and writes the study of one sweep; knows nothing of what is to be done next.

    Opening one writes nothing: a reader must not wait for a lock.
    """

    def __init__(self, spec: SweepSpec, folder: Path, *, is_new: bool = False) -> None:
        """Open the study, or begin it if `is_new`; StudyError if it is gone, or there already."""
        quiet_optuna()
        self.spec = spec
        self.storage: BaseStorage = open_storage(folder, spec.storage)
        known = [s.study_name for s in self.storage.get_all_studies()]
        if is_new:
            self._create(known)
        elif spec.name not in known:
            where = "its database (storage)" if spec.storage else str(folder / "study.journal")
            raise StudyError(f"the study of sweep {spec.name!r} is gone from {where}.")
        self.optuna = optuna.load_study(
            study_name=spec.name, storage=self.storage, sampler=optuna.samplers.RandomSampler()
        )
        self.study_id = self.storage.get_study_id_from_name(spec.name)

    def _create(self, known: list[str]) -> None:
        if self.spec.name in known:
            raise StudyError(
                f"the database (storage) has a study {self.spec.name!r} already, of another home "
                "or of a sweep that was deleted: choose another `name`, or delete it there with "
                f"`optuna delete-study --study-name {self.spec.name}`."
            )
        optuna.create_study(
            study_name=self.spec.name,
            storage=self.storage,
            directions=[
                "maximize" if o.mode == "max" else "minimize" for o in self.spec.objectives
            ],
        )

    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers; not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """One trial; StudyError if there is none of this number."""
        try:
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)
        except KeyError as error:
            raise StudyError(f"sweep {self.spec.name!r} has no trial {number}.") from error
        return self.storage.get_trial(trial_id)

    def attrs(self) -> dict[str, Any]:
        """The attributes of the study."""
        return self.storage.get_study_user_attrs(self.study_id)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the study; None stands for an absent one."""
        self.storage.set_study_user_attr(self.study_id, key, value)

    def set_trial(self, trial: FrozenTrial, key: str, value: Any) -> None:
        """Set an attribute of a trial that has not finished."""
        self.storage.set_trial_user_attr(trial._trial_id, key, value)

    def add(self, trial: FrozenTrial) -> FrozenTrial:
        """Write a new trial, whole, in one go."""
        return self.storage.get_trial(
            self.storage.create_new_trial(self.study_id, template_trial=trial)
        )

    def enqueue(self, params: dict[str, Any], attrs: dict[str, Any]) -> None:
        """Write a trial that waits; `params` are fixed, the rest is sampled when it starts."""
        self.add(
            optuna.trial.create_trial(
                state=OptunaState.WAITING,
                user_attrs=attrs,
                system_attrs={"fixed_params": params} if params else {},
            )
        )

    def enqueue_point(self, sampled: dict[str, Any], point: Point, attrs: dict[str, Any]) -> None:
        """Write a trial that waits, of which every parameter is known."""
        self.add(
            optuna.trial.create_trial(
                state=OptunaState.WAITING,
                params=sampled,
                distributions=dict(point.distributions),
                user_attrs=attrs,
            )
        )

    def result(self, number: int) -> TrialResult:
        """Say how one trial stands."""
        return record.trial_result(self.trial(number), self.spec.objective, self.attrs())

    def results(self) -> SweepResult:
        """Say how the sweep stands."""
        attrs = self.attrs()
        return SweepResult(
            name=self.spec.name,
            objective=self.spec.objective,
            objectives=self.spec.objectives,
            trials=tuple(
                record.trial_result(t, self.spec.objective, attrs)
                for t in self.trials()
                if record.IMPORTED not in t.user_attrs
            ),
        )
