"""The curve of a run: its reports, and all that follows from them. Nothing else is remembered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from s4core.train.config import TrainConfig
from s4core.train.patience import Best, Mode, is_out_of_patience
from s4core.train.report import EpochReport, StoppedBy
from s4core.train.schedules import Plateau


class Curve:
    """The metrics of each epoch, and from them: best, patience, the plateau factor, the end."""

    def __init__(self, train: TrainConfig, metric: str, mode: Mode) -> None:
        self._train, self._metric = train, metric
        self._best = Best(mode=mode)
        self._patient = Best(mode=mode, margin=train.min_delta)
        self.plateau = Plateau(best=Best(mode=mode))
        self.stopped_by: StoppedBy | None = None
        self.metrics: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """The last epoch that is done."""
        return len(self.metrics)

    def add(self, metrics: dict[str, float]) -> EpochReport:
        """Take the metrics of the next epoch."""
        self.metrics.append(metrics)
        value = metrics[self._metric]
        is_best = self._best.update(self.epoch, value)
        self._patient.update(self.epoch, value)
        self.plateau.update(self._train, self.epoch, value)
        if self.epoch >= self._train.epochs:
            self.stopped_by = "epochs"
        elif is_out_of_patience(
            self._train.patience, epoch=self.epoch, best_epoch=self._patient.epoch
        ):
            self.stopped_by = "patience"
        return EpochReport(
            epoch=self.epoch, metrics=dict(metrics), best=is_best, stopped_by=self.stopped_by
        )

    def replay(self, metrics: Sequence[dict[str, float]]) -> list[EpochReport]:
        """Tell again what was told before; only the last report may now be the end."""
        reports = []
        for past in metrics:
            self.stopped_by = None
            reports.append(self.add(past))
        told = [dataclasses.replace(report, stopped_by=None) for report in reports[:-1]]
        return told + reports[-1:]
