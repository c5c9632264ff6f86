"""What a report is made of: everything that the files of a sweep say, read once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dashboards import runs
from dashboards.record import Line, SweepRecord, TrialRecord
from sweeps.files import read_json
from sweeps.types import Objective, SweepResult, TrialResult, TrialSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """A time in which one worker was at a trial: unix seconds, and where."""

    start: float
    end: float
    host: str
    device: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: how it stands, what was chosen for it, its curve.

    chosen: by resolved name (`model.init`, whichever alternative it stood in). asked: epochs it was
    to train for, None if its spec leaves that to the default.
    """

    result: TrialResult
    spec: TrialSpec
    chosen: Mapping[str, Any]
    curve: Sequence[Line]
    spans: Sequence[Span]
    test: Mapping[str, float]
    commit: str | None

    @property
    def number(self) -> int:
        """Its number."""
        return self.result.number

    @property
    def family(self) -> str:
        """The model's name."""
        return str(self.spec.model.get("name", "?"))

    @property
    def saved_s(self) -> float:
        """Time not spent since the trial was stopped or pruned before its last epoch."""
        return self.result.saved_s(self.spec.train.get("epochs"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """A sweep as its report shows it.

    logs: resolved names of the parameters that were searched on a logarithmic scale.
    gpus: GPUs that a trial has to itself. made: when this was read, unix seconds.
    """

    name: str
    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...]
    logs: frozenset[str]
    gpus: float
    is_over: bool
    text: str
    made: float

    @property
    def objective(self) -> Objective:
        """The one that moves everything."""
        return self.objectives[0]

    @property
    def result(self) -> SweepResult:
        """All trials as the study's result."""
        return SweepResult(
            name=self.name,
            objective=self.objective,
            trials=tuple(t.result for t in self.trials),
            objectives=self.objectives,
        )

    @property
    def best(self) -> Trial | None:
        """The best trial."""
        best = self.result.best
        return None if best is None else next(t for t in self.trials if t.number == best.number)

    @property
    def scored(self) -> list[Trial]:
        """The trials that have a value and did not fail, by number.

        A configuration that ran with several seeds is one of them, with its mean: its repeats would
        pass for further trials, and a lucky one for the best.
        """
        return [t for t in self.trials if t.result.is_ranked]

    @property
    def families(self) -> list[str]:
        """The names of the models, in alphabetical order."""
        return sorted({t.family for t in self.trials})

    @property
    def names(self) -> list[str]:
        """What the search chose, most often chosen first."""
        counts: dict[str, int] = {}
        for trial in self.trials:
            for name in trial.chosen:
                counts[name] = counts.get(name, 0) + 1
        return sorted(counts, key=lambda name: (-counts[name], name))


def gather(record: SweepRecord) -> Evidence:
    """Read a sweep's folder; trials that have not begun are left out."""
    spec = read_json(record.folder / "spec.json") or {}
    objectives = record.objectives()
    trials = [_trial(trial, objectives) for trial in record.trials()]
    text = record.folder / "sweep.yaml"
    return Evidence(
        name=record.name,
        objectives=objectives,
        trials=tuple(trial for trial in trials if trial is not None),
        logs=frozenset(_logs({k: spec.get(k) for k in ("data", "model", "train")}, "")),
        gpus=float((spec.get("resources") or {}).get("gpus") or 0.0),
        is_over=not record.is_driven(),
        text=text.read_text() if text.exists() else "",
        made=time.time(),
    )


def _trial(trial: TrialRecord, objectives: Sequence[Objective]) -> Trial | None:
    spec, result = trial.spec(), trial.standing(objectives)
    if spec is None or result is None:
        return None
    curve, attempts = trial.curve(), trial.attempts()
    return Trial(
        result=result,
        spec=spec,
        chosen=runs.chosen(spec),
        curve=curve,
        spans=_spans(curve, attempts),
        test=trial.test(),
        commit=attempts[-1].get("git_commit") if attempts else None,
    )


def _spans(curve: Sequence[Line], attempts: Sequence[Mapping[str, Any]]) -> list[Span]:
    """When and where a trial was worked at; each attempt ends with the last epoch before the next.

    Without a record of attempts it is one span that begins one epoch before the first report.
    """
    if not attempts and curve:
        attempts = [{"time": curve[0].time - curve[0].report.metrics.get("epoch_s", 0.0)}]
    spans = []
    for i, attempt in enumerate(attempts):
        start = float(attempt["time"])
        until = float(attempts[i + 1]["time"]) if i + 1 < len(attempts) else float("inf")
        end = max((line.time for line in curve if start <= line.time < until), default=start)
        host, device = str(attempt.get("host", "?")), str(attempt.get("device", "?"))
        spans.append(Span(start=start, end=end, host=host, device=device))
    return spans


def _logs(tree: Any, path: str) -> Iterator[str]:
    """Dotted paths of logarithmic ranges; an alternative's fields are named as resolved."""
    if isinstance(tree, Mapping):
        if "log_uniform" in tree or "log_int" in tree:
            yield path
            return
        for key, value in tree.items():
            yield from _logs(value, path if key == "choice" else f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _logs(value, path)
