"""What a trial is in MLflow's words: parameters, tags and points. Pure functions of the record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dashboards.record import Line, TrialRecord
from sweeps.files import flatten
from sweeps.types import Objective, TrialResult, TrialSpec, TrialState

Point = tuple[str, float, int, int]  # metric, value, milliseconds, step

PARAM_CHARS = 6000  # MLflow's limit on the value of a parameter
TAG_CHARS = 5000  # and on that of a tag
STATUS = {
    TrialState.COMPLETED: "FINISHED",
    TrialState.STOPPED: "FINISHED",
    TrialState.PRUNED: "FINISHED",  # a decision, not a fault; the tag `state` tells them apart
    TrialState.CUT: "FINISHED",
    TrialState.FAILED: "FAILED",
}


def run_name(number: int) -> str:
    """The name of a trial's run: its number, as its folder is called."""
    return f"{number:04d}"


def params(spec: TrialSpec) -> dict[str, str]:
    """The resolved configuration of a trial, flattened to dotted names."""
    tree = {"data": spec.data, "model": spec.model, "train": spec.train, "seed": spec.seed}
    return {name: text(value)[:PARAM_CHARS] for name, value in flatten(tree).items()}


def chosen(spec: TrialSpec) -> dict[str, Any]:
    """What the search chose, by the name under which `params` has it.

    The study calls the choice of a block `model`, which resolved is `model.name`, and a field of
    one alternative `model.s4d.init`, which is `model.init`.
    """
    resolved = flatten({"data": spec.data, "model": spec.model, "train": spec.train})
    named: dict[str, Any] = {}
    for path, value in spec.params.items():
        block, _, rest = path.partition(".")
        names = [path, f"{path}.name", f"{block}.{rest.partition('.')[2]}"]
        name = next((name for name in names if name in resolved), path)
        named[name] = resolved.get(name, value)
    return named


def text(value: Any) -> str:
    """A parameter's value as MLflow shows it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def trial_tags(
    trial: TrialRecord, spec: TrialSpec | None, result: TrialResult | None, state: str
) -> dict[str, str]:
    """Everything about a trial that one may want to filter by.

    label: the preset or the queue that a configuration comes from, if it was not sampled.
    """
    tags: dict[str, Any] = {"trial": trial.number, "state": state}
    if spec is not None:
        tags |= {
            "sweep": spec.sweep,
            "model": spec.model.get("name"),
            "dataset": spec.data.get("name"),
            "seed": spec.seed,
        }
    attempts = trial.attempts()
    if attempts:
        last = attempts[-1]
        tags |= {key: last.get(key) for key in ("host", "device", "gpu", "git_commit", "version")}
        tags |= {"attempts": len(attempts), "mlflow.source.git.commit": last.get("git_commit")}
    if result is not None:
        tags |= {"best_epoch": result.best_epoch, "epochs": result.epochs, "error": result.error}
        tags |= {"label": result.label, "replicate_of": result.replicate_of}
    return {k: str(v)[:TAG_CHARS] for k, v in tags.items() if v is not None}


def points(line: Line, objective: Objective) -> list[Point]:
    """The points of one epoch, whose step is the epoch.

    Infinite values are left out, since MLflow would store 1.8e308 for them; NaN is kept. The best
    value so far goes to `best/<metric>`, at the epochs at which it improves.
    """
    report, at = line.report, int(line.time * 1000)
    measured = {**report.metrics, **line.host}
    values = {k: float(v) for k, v in measured.items() if not math.isinf(v)}
    if report.best and objective.metric in values:
        values[f"best/{objective.metric}"] = values[objective.metric]
    return [(name, value, at, report.epoch) for name, value in values.items()]


def infinite(line: Line) -> dict[str, str]:
    """Tags that name the metrics that `points` leaves out, with their first such epoch."""
    return {
        f"infinite.{name}": f"{value} at epoch {line.report.epoch}"
        for name, value in line.report.metrics.items()
        if math.isinf(value)
    }


def source_tags(sweep: str) -> Mapping[str, str]:
    """Tags that MLflow itself shows as the source of a run."""
    return {"mlflow.source.name": f"s4sweep {sweep}", "mlflow.source.type": "PROJECT"}
