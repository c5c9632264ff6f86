"""The types that cross the border of `sweeps`: frozen, and they round-trip through JSON."""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from s4core.train.report import EpochReport


class TrialState(enum.StrEnum):
    """Where a trial is; a killed one looks RUNNING until it is taken up again."""

    WAITING = "waiting"  # enqueued, not yet started
    RUNNING = "running"
    COMPLETED = "completed"  # all epochs
    STOPPED = "stopped"  # patience ran out; counts as complete
    PRUNED = "pruned"  # the study said stop
    CUT = "cut"  # the sweep's budget of hours was used up while it ran
    FAILED = "failed"  # its error is kept

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come of the trial."""
        return self not in (TrialState.WAITING, TrialState.RUNNING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """The one metric that moves patience, `best.pt`, pruning and "best trial"."""

    metric: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether `value` beats `than` (None: anything does; NaN never does)."""
        if value != value:
            return False
        return than is None or (value > than if self.mode == "max" else value < than)

    def cost(self, value: float) -> float:
        """The value as a figure of which less is better."""
        return -value if self.mode == "max" else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One fully resolved trial: what `run_trial` needs to know, beside its folder.

    data, model: a block with `name` and that data set's or model's own fields; train: the fields of
    s4core.TrainConfig; params: what the study chose, by dotted path (for tables and dashboards);
    replicate_of: the trial whose configuration this one repeats with another seed; taken_over: the
    member of a population whose weights this one begins its generation with, if not its own.
    """

    sweep: str
    number: int
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    objective: Objective
    seed: int
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    replicate_of: int | None = None
    taken_over: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialSpec:
        """Read what `to_json` wrote."""
        return cls(**{**data, "objective": Objective(**data["objective"])})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial stands: its best objective value (not the last one), and why it ended.

    values: one per objective, at the epoch that is best by the first; () while there is none.
    repeats: the values of all seeds of a repeated configuration, whose mean is then `value`;
    replicate_of: the trial whose configuration this one repeats with another seed.
    label: where a configuration came from that was not sampled (a preset's name, "enqueued").
    seconds: time spent in epochs. spared: what they would have taken more, had none been trained as
    one with those of other trials (`resources.fuse`). ended: when (unix seconds). lost: it failed
    because it lost its workers or nodes again and again, by no error that it raised.
    """

    number: int
    state: TrialState
    value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    error: str | None = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    values: tuple[float, ...] = ()
    repeats: tuple[float, ...] = ()
    replicate_of: int | None = None
    label: str | None = None
    seconds: float = 0.0
    spared: float = 0.0
    ended: float | None = None
    lost: bool = False

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a configuration that ran once."""
        return statistics.stdev(self.repeats) if len(self.repeats) > 1 else None

    @property
    def is_ranked(self) -> bool:
        """Whether it may be the best: it has a value, did not fail and is no other one's repeat."""
        return (
            self.value is not None
            and self.state is not TrialState.FAILED
            and self.replicate_of is None
        )

    def saved_s(self, asked: int | None) -> float:
        """Seconds of the epochs up to `asked` that pruning or patience spared, at its mean for one.

        asked: None where the trial's spec does not say how many there were to be.
        """
        is_early = self.state in (TrialState.PRUNED, TrialState.STOPPED)
        if not is_early or not self.epochs or asked is None:
            return 0.0
        return max(0, asked - self.epochs) * self.seconds / self.epochs

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the inverse."""
        return {**dataclasses.asdict(self), "state": self.state.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialResult:
        """Read what `to_json` wrote; keys that it did not write are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        given: dict[str, Any]
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        return cls(**{**given, "state": TrialState(data["state"])})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResult:
    """How a sweep stands: every trial once, and the best of them."""

    name: str
    objective: Objective
    trials: tuple[TrialResult, ...]
    objectives: tuple[Objective, ...] = ()

    @property
    def ranked(self) -> tuple[TrialResult, ...]:
        """The trials that have a value, best first; repeats count through their mean.

        Of equals the lower number is first, in whichever order the trials are given.
        """
        sign = -1.0 if self.objective.mode == "max" else 1.0
        scored = [t for t in self.trials if t.is_ranked]
        return tuple(sorted(scored, key=lambda t: (sign * float(t.value or 0.0), t.number)))

    @property
    def best(self) -> TrialResult | None:
        """The trial with the best value; None while no trial has one."""
        return next(iter(self.ranked), None)

    def others(self, trial: TrialResult) -> dict[str, float]:
        """The values of a trial in the objectives after the first, by metric."""
        metrics = [objective.metric for objective in self.objectives[1:]]
        return dict(zip(metrics, trial.values[1:], strict=False))

    @property
    def front(self) -> tuple[TrialResult, ...]:
        """The trials that no other one beats in every objective (the Pareto front)."""
        objectives = self.objectives or (self.objective,)

        def costs(trial: TrialResult) -> list[float]:
            return [o.cost(v) for o, v in zip(objectives, _values(trial), strict=True)]

        done = [t for t in self.ranked if len(_values(t)) == len(objectives)]
        return tuple(
            t
            for t in done
            if not any(
                costs(o) != costs(t)
                and all(a <= b for a, b in zip(costs(o), costs(t), strict=True))
                for o in done
            )
        )


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Nothing to run now, but ask again: the sweep is paused, or waits for what runs."""

    reason: str


PAUSED = Waiting("paused")


@dataclasses.dataclass(frozen=True)
class Finished:
    """Nothing more to run; `reason` says which budget or wish ended the sweep."""

    reason: str


class SweepEvents(Protocol):
    """What an engine tells whoever watches a sweep (a live table, a log); must return at once."""

    def trial_started(self, spec: TrialSpec) -> None:
        """A trial was given to a worker (again, after a loss)."""

    def trial_reported(self, number: int, report: EpochReport) -> None:
        """An epoch that had not been seen before."""

    def trial_ended(self, result: TrialResult) -> None:
        """The study has the trial's result."""


def _values(trial: TrialResult) -> tuple[float, ...]:
    return trial.values or ((trial.value,) if trial.value is not None else ())
