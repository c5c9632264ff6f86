"""Sweeps as Prometheus sees them: read from their files when it asks.

Series that name a trial are those of running trials only, so that their number stays small however
long a home lives. Files that have not grown are not read again.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dashboards import ship_state
from dashboards.record import Line, SweepRecord, TrialRecord
from sweeps.home import sweep_names
from sweeps.types import TrialState

PORT = 9109

SWEEP = {
    "s4sweep_driven": "Whether a driver is at work on the sweep.",
    "s4sweep_best_objective": "Best value of the objective so far.",
    "s4sweep_trial_seconds": "Time spent in epochs of ended trials.",
    "s4sweep_mlflow_lag_epochs": "Epochs that MLflow does not have yet.",
}
TRIAL = {
    "s4sweep_epoch": "Epochs that a running trial has done.",
    "s4sweep_objective": "The objective after the last epoch of a running trial.",
    "s4sweep_epoch_seconds": "How long the last epoch of a running trial took.",
    "s4sweep_samples_per_second": "Training throughput of a running trial.",
    "s4sweep_peak_memory_megabytes": "Most memory that the last epoch of a running trial had.",
}


class SweepCollector(Collector):
    """Looks at every sweep of a home at each scrape."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families with their samples."""
        states = GaugeMetricFamily("s4sweep_trials", "Trials by state.", labels=["sweep", "state"])
        of_sweeps = {
            name: GaugeMetricFamily(name, text, labels=["sweep", "metric"])
            for name, text in SWEEP.items()
        }
        of_trials = {
            name: GaugeMetricFamily(name, text, labels=["sweep", "trial", "model"])
            for name, text in TRIAL.items()
        }
        for name in sweep_names(self._home):
            record = SweepRecord.of(self._home, name)
            result = record.ended()
            ended = {t.number for t in result.trials if t.state.is_finished}
            running = [t for t in record.trials() if t.number not in ended]
            counts = Counter({s: 0 for s in TrialState} | Counter(t.state for t in result.trials))
            counts[TrialState.RUNNING] = len(running)
            for state, count in counts.items():
                states.add_metric([name, state.value], count)
            values = {
                "s4sweep_driven": float(record.is_driven()),
                "s4sweep_trial_seconds": sum(t.seconds for t in result.trials),
                "s4sweep_mlflow_lag_epochs": float(ship_state.lag(self._home, name).lines),
            }
            if result.best is not None and result.best.value is not None:
                values["s4sweep_best_objective"] = result.best.value
            for key, value in values.items():
                of_sweeps[key].add_metric([name, result.objective.metric], value)
            for trial in running:
                labels = [name, f"{trial.number:04d}", model_of(trial)]
                for key, value in standing(trial, result.objective.metric).items():
                    of_trials[key].add_metric(labels, value)
        yield states
        yield from of_sweeps.values()
        yield from of_trials.values()


def standing(trial: TrialRecord, metric: str) -> dict[str, float]:
    """The series of a running trial, after its last epoch; {} before the first."""
    size = trial.metrics.stat().st_size if trial.metrics.exists() else 0
    line = _last(trial, size)
    if line is None:
        return {}
    report = line.report
    named = {
        "s4sweep_objective": metric,
        "s4sweep_epoch_seconds": "epoch_s",
        "s4sweep_samples_per_second": "samples_per_s",
        "s4sweep_peak_memory_megabytes": "peak_memory_mb",
    }
    values = {series: report.metrics[m] for series, m in named.items() if m in report.metrics}
    return {"s4sweep_epoch": float(report.epoch), **values}


def model_of(trial: TrialRecord) -> str:
    """The name of a trial's model."""
    spec = trial.spec()
    return "" if spec is None else str(spec.model.get("name", ""))


@functools.lru_cache(maxsize=1024)
def _last(trial: TrialRecord, size: int) -> Line | None:
    """The last line; read again only when the file has grown, since `size` is part of the key."""
    curve = trial.curve() if size else []
    return curve[-1] if curve else None


def serve_metrics(
    home: Path, *, host: str = "127.0.0.1", port: int = PORT
) -> tuple[Any, threading.Thread]:
    """Answer scrapes of `/metrics` from a thread; returns the server (with `shutdown`) and it."""
    registry = CollectorRegistry()
    registry.register(SweepCollector(home))
    server, thread = start_http_server(port, addr=host, registry=registry)
    return server, thread
