"""From a trial's reports to its result: the one place where the best of a curve is taken."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence

from s4core.train.report import EpochReport
from sweeps.plural import plural

from .types import Objective, TrialResult, TrialSpec, TrialState


class Outcome:
    """Collects the reports of one trial (replayed ones too: an epoch counts once)."""

    def __init__(self, objectives: Sequence[Objective] | Objective) -> None:
        self.objectives = (objectives,) if isinstance(objectives, Objective) else tuple(objectives)
        self.epochs = 0
        self.best_epoch: int | None = None
        self.values: tuple[float, ...] = ()
        self.seconds = 0.0
        self.spared = 0.0
        self.stopped_by: str | None = None

    @classmethod
    def of(cls, objectives: Sequence[Objective], reports: Iterable[EpochReport]) -> Outcome:
        """What reports that are on disk come to."""
        outcome = cls(objectives)
        for report in reports:
            outcome.add(report)
        return outcome

    @property
    def value(self) -> float | None:
        """Best value of the first objective so far; None while no epoch had a finite one."""
        return self.values[0] if self.values else None

    def add(self, report: EpochReport) -> bool:
        """Take an epoch in; False if it was known already."""
        if report.epoch <= self.epochs:
            return False
        self.epochs = report.epoch
        self.seconds += report.metrics.get("epoch_s", 0.0)
        self.spared += report.metrics.get("spared_s", 0.0)
        self.stopped_by = report.stopped_by
        values = tuple(report.metrics.get(o.metric, math.nan) for o in self.objectives)
        if math.isfinite(values[0]) and self.objectives[0].is_better(values[0], self.value):
            self.best_epoch, self.values = report.epoch, values
        return True

    def result(
        self, spec: TrialSpec, *, pruned: bool = False, error: str | None = None
    ) -> TrialResult:
        """Say how the trial ended. One without any finite value has failed, whatever it says."""
        if error is None and not pruned and not all(map(math.isfinite, self.values or (math.nan,))):
            metrics = ", ".join(o.metric for o in self.objectives)
            error = f"no finite value of {metrics} in {plural(self.epochs, 'epoch')}"
        if error is not None:
            state = TrialState.FAILED
        elif pruned:
            state = TrialState.PRUNED
        else:
            is_early = self.stopped_by == "patience"
            state = TrialState.STOPPED if is_early else TrialState.COMPLETED
        return dataclasses.replace(self.so_far(spec), state=state, error=error, ended=time.time())

    def so_far(self, spec: TrialSpec) -> TrialResult:
        """Say how the trial stands while it runs."""
        return TrialResult(
            number=spec.number,
            state=TrialState.RUNNING,
            value=self.value,
            best_epoch=self.best_epoch,
            epochs=self.epochs,
            params=spec.params,
            values=self.values,
            seconds=self.seconds,
            spared=self.spared,
            replicate_of=spec.replicate_of,
        )
