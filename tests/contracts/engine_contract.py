"""What every engine must do, whatever it runs trials on; import the class and give it a `run`.

class TestInline(EngineContract):
    @pytest.fixture
    def run(self) -> Run: ...
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import s4core.train.checkpoint
from dashboards.store import open_client
from s4core.train.report import EpochReport
from sweeps import Study, SweepSpec, load_spec, run_inline
from sweeps.types import SweepResult, TrialResult, TrialSpec, TrialState

# Takes a spec and a home, gives the watcher what happens, and returns how the sweep ended.
Run = Callable[[SweepSpec, Path, "Watcher"], SweepResult]

TINY = {
    "name": "tiny",
    "objective": {"metric": "val/accuracy", "mode": "max"},
    "data": {
        "name": "listops",
        **{"train": 64, "val": 32, "test": 32, "min_length": 10, "max_length": 40, "l_max": 48},
    },
    "model": {"name": "lab.faulty"},
    "train": {"epochs": 3, "batch_size": 16, "lr": {"log_uniform": [0.002, 0.02]}},
    "search": {"sampler": "random", "pruner": "none", "trials": 3, "seed": 0},
    "resources": {"cpus": 1, "concurrent": 1},  # each worker costs seconds of imports
}


def tiny(folder: Path, **blocks: Any) -> SweepSpec:
    """A sweep of seconds; `blocks` are merged into TINY's, key by key, if they have its name."""
    tree: dict[str, Any] = {}
    for key, value in {**TINY, **blocks}.items():
        is_block = isinstance(value, dict) and key in TINY and "choice" not in value
        if is_block and value.get("name") in (None, TINY[key].get("name")):  # type: ignore[attr-defined]
            value = {**TINY[key], **value}  # type: ignore[dict-item]
        tree[key] = value
    path = folder / "tiny.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_spec(path, allow_imports=True)


class Watcher:
    """Remembers the events of a sweep, in order."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.epochs: dict[int, list[int]] = {}
        self.ended: dict[int, TrialResult] = {}
        self.notes: list[str] = []

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= (total or done), f"{done} of {total} {what}"

    def trial_started(self, spec: TrialSpec) -> None:
        self.started.append(spec.number)

    def trial_reported(self, number: int, report: EpochReport) -> None:
        assert number in self.started, "a report before its start"
        self.epochs.setdefault(number, []).append(report.epoch)

    def trial_ended(self, result: TrialResult) -> None:
        assert result.number not in self.ended, "ended twice"
        self.ended[result.number] = result


def check_record(
    home: Path, name: str, *, trials: int, uri: str | None = None, tracked: bool = False
) -> SweepResult:
    """What must hold after every fault; returns the result of the sweep.

    Every trial is accounted for, exactly once, and its files say the same as the study; none was
    started again after its end; no epoch is missing or there twice; every best checkpoint loads.
    tracked: MLflow (at `uri`, else the home's own) has the same epochs with the same values.
    """
    study = Study.open(name, home)
    result = study.result()
    counted = [t for t in result.trials if t.state is not TrialState.FAILED]
    assert len(counted) == trials, result.trials
    for trial in result.trials:
        assert trial.state.is_finished, trial
        folder = study.trial_folder(trial.number)
        kept = TrialResult.from_json(json.loads((folder / "result.json").read_text()))
        assert kept == trial
        lines = (folder / "metrics.jsonl").read_text().splitlines() if trial.epochs else []
        reports = [EpochReport.from_json(json.loads(line)) for line in lines]
        assert [r.epoch for r in reports] == list(range(1, len(reports) + 1)), "gap or repeat"
        starts = [json.loads(a) for a in (folder / "attempts.jsonl").read_text().splitlines()]
        assert max(s["time"] for s in starts) < (trial.ended or 0), "started after its end"
        if trial.state is not TrialState.FAILED:
            assert len(reports) == trial.epochs
            best = s4core.train.checkpoint.read(folder / "best.pt")
            assert best, "the best checkpoint loads"
            values = [r.metrics[study.spec.objective.metric] for r in reports]
            assert trial.value == max(values)
    if tracked:
        check_tracked(home, name, uri)
    return result


def check_tracked(home: Path, name: str, uri: str | None = None) -> None:
    """MLflow has one run for each trial, ended, with exactly the epochs of its metrics.jsonl."""
    client = open_client(home, uri)
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run.info for run in found}
    assert len(runs) == len(found), "a trial has two runs"
    folders = sorted((home / "sweeps" / name / "trials").iterdir())
    assert set(runs) == {"00-summary", *(folder.name for folder in folders)}
    for folder in folders:
        assert runs[folder.name].status in ("FINISHED", "FAILED"), runs[folder.name]
        lines = [json.loads(s) for s in (folder / "metrics.jsonl").read_text().splitlines()]
        for metric in lines[0]["metrics"]:
            points = client.get_metric_history(runs[folder.name].run_id, metric)
            kept = sorted((p.step, p.value) for p in points)
            assert kept == [(s["epoch"], s["metrics"][metric]) for s in lines], metric


class EngineContract:
    """The suite."""

    @pytest.fixture
    def run(self) -> Run:
        """Give the engine under test."""
        raise NotImplementedError

    def test_it_runs_exactly_what_was_asked_for_and_nothing_twice(
        self, run: Run, tmp_path: Path
    ) -> None:
        watcher = Watcher()
        spec = tiny(tmp_path, resources={"concurrent": 2})
        result = run(spec, tmp_path, watcher)
        assert check_record(tmp_path, "tiny", trials=3) == result
        assert sorted(watcher.started) == [0, 1, 2]
        assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
        assert watcher.ended == {t.number: t for t in result.trials}
        assert {t.state for t in result.trials} == {TrialState.COMPLETED}
        again = Watcher()
        assert run(spec, tmp_path, again) == result
        assert again.started == []

    def test_an_engine_does_not_change_what_a_trial_learns(self, run: Run, tmp_path: Path) -> None:
        """Bitwise the same as in this process, whoever ran it before or beside."""
        curves = []
        for place, engine in (("a", run), ("b", run_inline)):
            engine(tiny(tmp_path / place, search={"trials": 2}), tmp_path / place, Watcher())
            curves.append([_losses(tmp_path / place, number) for number in range(2)])
        assert curves[0] == curves[1]

    def test_patience_stops_a_trial_and_counts_it(self, run: Run, tmp_path: Path) -> None:
        train = {"epochs": 30, "patience": 2, "lr": 1.0e-9}
        result = run(tiny(tmp_path, train=train, search={"trials": 1}), tmp_path, Watcher())
        (trial,) = check_record(tmp_path, "tiny", trials=1).trials
        assert trial.state is TrialState.STOPPED
        assert trial.epochs == (trial.best_epoch or 0) + 2 < 30
        assert result.best == trial

    def test_the_pruner_stops_a_trial(self, run: Run, tmp_path: Path) -> None:
        """One that nobody satisfies (lab.strict) ends every trial after its first epoch."""
        run(tiny(tmp_path, search={"trials": 2, "pruner": "lab.strict"}), tmp_path, Watcher())
        for trial in check_record(tmp_path, "tiny", trials=2).trials:
            assert (trial.state, trial.epochs) == (TrialState.PRUNED, 1)

    def test_errors_fail_their_trial_alone_and_are_kept(self, run: Run, tmp_path: Path) -> None:
        model = {"name": "lab.faulty", "fault": {"choice": ["none", "raise", "nan"]}}
        search = {"sampler": "grid", "trials": 3}
        watcher = Watcher()
        spec = tiny(tmp_path, model=model, search=search, train={"lr": 0.01})
        result = run(spec, tmp_path, watcher)
        by_fault = {t.params["model.fault"]: t for t in result.trials}
        assert by_fault["none"].state is TrialState.COMPLETED
        for fault, words in (("raise", "ValueError: step 6 is bad"), ("nan", "Diverged")):
            failed = by_fault[fault]
            assert failed.state is TrialState.FAILED
            assert failed.error is not None and words in failed.error
            assert failed.epochs == 1, "what it said before the fault is kept"
        check_record(tmp_path, "tiny", trials=1)

    def test_too_many_failures_end_the_sweep(self, run: Run, tmp_path: Path) -> None:
        model = {"name": "lab.faulty", "fault": "raise", "at": {"int": [1, 12]}}
        spec = tiny(tmp_path, model=model, search={"trials": 20, "max_failures": 2})
        result = run(spec, tmp_path, Watcher())
        assert 3 <= sum(t.state is TrialState.FAILED for t in result.trials) <= 4


def _losses(home: Path, number: int) -> list[float]:
    folder = Study.open("tiny", home).trial_folder(number)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["metrics"]["train/loss"] for line in lines]
