"""How a sweep stands, by its files alone."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from cluster.cli import main
from cluster.standing import Standing
from s4core.train.report import EpochReport
from sweeps import (
    Objective,
    Study,
    SweepSpec,
    TrialResult,
    TrialSpec,
    TrialState,
    load_spec,
    run_inline,
    run_trial,
)

SWEEP = """\
name: stands
data: {name: listops, train: 32, val: 16, test: 16, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 1, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 1}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path))
    path = tmp_path / "stands.yaml"
    path.write_text(SWEEP)
    return load_spec(path)


def test_an_extended_sweep_is_not_done(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_inline(spec, tmp_path)
    assert main(["status", "stands"]) == 0
    assert "done: 1 of 1 trial done; no driver" in capsys.readouterr().out
    assert main(["extend", "stands", "--trials", "+2"]) == 0
    assert main(["status", "stands"]) == 0
    said = capsys.readouterr().out
    assert "interrupted: 1 of 3 trials done; no driver" in said
    assert "go on: s4sweep resume stands" in said


def test_a_sweep_that_has_nothing_left_to_try_is_done_until_it_is_extended(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though it has fewer trials than it asks for."""
    (tmp_path / "stands.yaml").write_text(
        SWEEP.replace("lr: {log_uniform: [0.001, 0.1]}", "lr: {choice: [0.001, 0.1]}").replace(
            "random, trials: 1", "grid, trials: 9"
        )
    )
    run_inline(load_spec(tmp_path / "stands.yaml"), tmp_path)
    assert main(["status", "stands"]) == 0
    said = capsys.readouterr().out
    assert "done (all 2 points of the grid have been tried): 2 of 9 trials done; no driver" in said
    assert "go on" not in said
    study = Study.open("stands", tmp_path)
    study.reopen(0, epochs=2)
    spec = study.ask(only=0)
    assert isinstance(spec, TrialSpec)
    study.tell(TrialResult(number=0, state=TrialState.COMPLETED, epochs=2))
    assert main(["status", "stands"]) == 0
    assert "done (all 2 points" in capsys.readouterr().out
    study.enqueue({})
    study.ask()
    assert main(["status", "stands"]) == 0
    assert "interrupted: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["extend", "stands", "--trials", "+2"], ["enqueue", "stands", "train.lr=0.01"]]
)
def test_a_job_names_the_commands_that_reach_its_cluster(
    words: list[str],
    spec: SweepSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its words are read on another machine, where a bare `resume` would mean another home."""
    run_inline(spec, tmp_path)
    monkeypatch.setenv("S4SWEEP_REACHED_BY", "--address http://head:8265")
    assert main(words) == 0
    hint = "s4sweep resume stands --address http://head:8265\n"
    assert capsys.readouterr().out.endswith(f"nobody runs it now: {hint}")
    assert main(["extend", "stands", "--trials", "+1"]) == main(["status", "stands"]) == 0
    assert capsys.readouterr().out.endswith(f"go on: {hint}")


def test_a_trial_that_is_to_be_trained_further_is_not_done(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, a killed `resume --best` was `done`, with nothing to go on with."""
    run_inline(spec, tmp_path)
    study = Study.open("stands", tmp_path)
    (had,) = study.result().trials
    study.reopen(0, epochs=3)
    assert main(["status", "stands"]) == 0
    said = capsys.readouterr().out
    assert "interrupted: 0 of 1 trial done" in said and "go on: s4sweep resume stands" in said
    (now,) = Standing.of(tmp_path, "stands").result.trials
    assert now == dataclasses.replace(had, state=TrialState.RUNNING)
    again = study.ask()
    assert isinstance(again, TrialSpec)
    with contextlib.closing(run_trial(again, study.trial_folder(0), home=tmp_path)) as stream:
        epochs = [report.epoch for report in itertools.islice(stream, 2)]
    (now,) = Standing.of(tmp_path, "stands").result.trials
    assert (now.epochs, now.value) == (epochs[-1], had.value)
    study.tell(TrialResult(number=0, state=TrialState.COMPLETED, epochs=3, value=0.5))
    assert Standing.of(tmp_path, "stands").state == "done"


def test_without_a_driver_no_trial_is_said_to_run(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.create(spec, tmp_path)
    study.ask()
    study.report(0, EpochReport(epoch=1, metrics={"val/accuracy": 0.5}))
    assert main(["best", "stands"]) == 0
    assert "trial 0 (interrupted): val/accuracy 0.5000" in capsys.readouterr().out
    assert main(["compare", "stands", "stands"]) == 0
    assert "0.5000" in capsys.readouterr().out


def test_a_program_is_told_every_objective_and_the_front(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = Objective(metric="val/loss", mode="min")
    study = Study.create(dataclasses.replace(spec, objectives=(*spec.objectives, loss)), tmp_path)
    study.ask()
    study.tell(
        TrialResult(number=0, state=TrialState.COMPLETED, epochs=1, value=0.5, values=(0.5, 0.25))
    )
    assert main(["status", "stands", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["result"]
    assert [o["metric"] for o in told["objectives"]] == ["val/accuracy", "val/loss"]
    assert told["front"] == [0]
    assert main(["compare", "stands", "stands"]) == 0
    assert capsys.readouterr().out.count("val/loss 0.2500") == 2


def test_who_waits_for_a_trial_to_stop_is_told_when_its_driver_is_gone(
    spec: SweepSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The driver is a process that holds the lock, and is killed while it is waited for."""
    study = Study.create(spec, tmp_path)
    study.ask()
    with subprocess.Popen(["sleep", "600"]) as driver:
        born = psutil.Process(driver.pid).create_time()
        held = {"host": socket.gethostname(), "pid": driver.pid, "born": born, "token": "x"}
        (study.folder / "lock.json").write_text(json.dumps({**held, "heartbeat": time.time()}))
        threading.Timer(1.0, lambda: (driver.kill(), driver.wait())).start()
        assert main(["stop", "stands", "--trial", "0", "--timeout", "30"]) == 0
    assert capsys.readouterr().out == (
        "trial 0 will be stopped after its next epoch\nnobody runs it now: s4sweep resume stands\n"
    )
