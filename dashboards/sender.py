"""One sweep's record, one store, and the calls that bring the second up to the first."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards import runs
from dashboards.record import SweepRecord, TrialRecord
from dashboards.ship_state import Shipped, TrialShipped
from dashboards.store import is_refusal, public
from sweeps.types import Objective, TrialSpec

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# MLflow's limits on one call: 1000 of all, and of them 100 parameters and 100 tags.
PARAMS = 100
POINTS = 800


@dataclasses.dataclass
class Sender:
    """Sends what a store lacks. Every call may be repeated: the second changes nothing.

    orphans: runs by trial number that the store has and `shipped` does not know, since a shipper
    died between making one and writing that down.
    """

    record: SweepRecord
    uri: str
    client: MlflowClient
    shipped: Shipped
    orphans: dict[int, str] = dataclasses.field(default_factory=dict)

    @property
    def experiment_id(self) -> str:
        """The sweep's experiment, once `experiment.find_or_create` has seen to it."""
        assert self.shipped.experiment_id is not None
        return self.shipped.experiment_id

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[runs.Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log to a run in as few calls as MLflow's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*point) for point in points]
        items = [Param(*item) for item in (params or {}).items()]
        labels = [RunTag(*item) for item in (tags or {}).items()]
        while metrics or items or labels:
            self.client.log_batch(run_id, metrics[:POINTS], items[:PARAMS], labels[:PARAMS])
            metrics, items, labels = metrics[POINTS:], items[PARAMS:], labels[PARAMS:]

    def trial(self, trial: TrialRecord, *, over: bool) -> None:
        """Bring a trial's run up to date; what the store refuses is noted and goes no further.

        over: nobody drives the sweep, so a trial that has not ended is interrupted, not running.
        """
        try:
            self._trial(trial, over)
        except Exception as error:
            # What is refused or damaged once will be so again, and must not hold up other trials.
            if not is_refusal(error) and not isinstance(error, ValueError | KeyError | TypeError):
                raise
            self.refuse(f"trial {trial.number}: {error}")

    def refuse(self, what: str) -> None:
        """Note, once, that something will not be shipped and why."""
        line = public(what.splitlines()[0])[:500]
        if line not in self.shipped.refused:
            self.shipped.refused.append(line)
            _logger.error("not shipped: %s", line)

    def _trial(self, trial: TrialRecord, over: bool) -> None:
        stamp = _stamp(trial, over)  # before the metrics are read, so that it is not ahead of them
        known = self.shipped.trials.get(trial.number) or self._start(trial)
        if known is None:
            return
        size = _size(trial.metrics)
        if size < known.offset:  # a restart has cut off what was damaged
            known.offset = 0
        if size > known.offset:
            self._metrics(trial, known)
        if stamp != known.stamp:
            self._state(trial, known, over)
            known.stamp = stamp

    def _start(self, trial: TrialRecord) -> TrialShipped | None:
        spec = trial.spec()
        if spec is None and trial.result() is None:
            return None
        run_id = self.orphans.get(trial.number) or self._create_run(trial)
        self.orphans[trial.number] = run_id
        if spec is not None:
            changing = {*runs.chosen(spec), "train.epochs"} if self.record.is_population() else ()
            self._params(trial, spec, run_id, without=changing)
        known = self.shipped.trials[trial.number] = TrialShipped(run_id=run_id)
        return known

    def _params(
        self, trial: TrialRecord, spec: TrialSpec, run_id: str, *, without: Collection[str] = ()
    ) -> None:
        # What a run has stays as it is: the epochs of a trial that is continued do change.
        there = {*self.client.get_run(run_id).data.params, *without}
        self.log(run_id, params={k: v for k, v in runs.params(spec).items() if k not in there})
        self.client.log_artifact(run_id, str(trial.folder / "spec.json"))

    def _create_run(self, trial: TrialRecord) -> str:
        attempts = trial.attempts()
        began = attempts[0]["time"] if attempts else trial.folder.stat().st_mtime
        tags = {**runs.source_tags(self.record.name), "trial": str(trial.number)}
        run = self.client.create_run(
            self.experiment_id, int(began * 1000), tags, runs.run_name(trial.number)
        )
        return str(run.info.run_id)

    def _metrics(self, trial: TrialRecord, known: TrialShipped) -> None:
        spec = trial.spec()
        objective = spec.objective if spec is not None else Objective()
        points: list[runs.Point] = []
        tags: dict[str, str] = {}
        offset, epoch = known.offset, known.epoch
        before = offset  # of the line in hand
        for line, offset in trial.reports(known.offset):
            if line.report.epoch > epoch:  # an epoch that a restart has written again is not new
                new = runs.points(line, objective)
                if len(points) + len(new) > POINTS:
                    self.log(known.run_id, points=points, tags=tags)
                    known.offset, known.epoch = before, epoch
                    points, tags = [], {}
                points += new
                tags = {**runs.infinite(line), **tags}
                epoch = line.report.epoch
            before = offset
        self.log(known.run_id, points=points, tags=tags)
        known.offset, known.epoch = offset, epoch

    def _state(self, trial: TrialRecord, known: TrialShipped, over: bool) -> None:
        spec, result = trial.spec(), trial.result()
        at = int(((result.ended if result else None) or time.time()) * 1000)
        ended = result if result is not None and result.state.is_finished else None
        state = ended.state.value if ended else "interrupted" if over else "running"
        step = (result.best_epoch if result else None) or 0
        self.log(
            known.run_id,
            points=[(name, value, at, step) for name, value in trial.test().items()],
            tags=runs.trial_tags(trial, spec, result, state),
        )
        self._inputs(trial, known.run_id)
        if ended is not None:
            if spec is not None and self.record.is_population():  # whose settings change no more
                self._params(trial, spec, known.run_id)
            self.client.set_terminated(known.run_id, runs.STATUS[ended.state], at)
        elif over:
            self.client.set_terminated(known.run_id, "KILLED")
        else:
            self.client.update_run(known.run_id, status="RUNNING")

    def _inputs(self, trial: TrialRecord, run_id: str) -> None:
        """The data set as an input of the run, with its fingerprint; twice is once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data, spec = trial.data(), trial.spec()
        if data is None or spec is None:
            return
        dataset = Dataset(
            name=data["name"],
            digest=data["fingerprint"],
            source_type="s4sweep",
            source=json.dumps(dict(spec.data)),
            profile=json.dumps({"rows": data["rows"]}),
        )
        tags = [InputTag("mlflow.data.context", ", ".join(data["rows"]))]
        self.client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(trial: TrialRecord, over: bool) -> str:
    """Changes whenever something of a trial that is not a metric changes."""
    names = ("result.json", "test.json", "attempts.jsonl", "data.json")
    times = [p.stat().st_mtime_ns if p.exists() else 0 for p in (trial.folder / n for n in names)]
    result = trial.result() if over else None
    return str([*times, over and (result is None or not result.state.is_finished)])
