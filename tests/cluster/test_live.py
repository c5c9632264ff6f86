"""What is said of a running sweep, on a terminal, in a pipe and to a program."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cluster.live import SHOWN, JsonLines, Lines, LiveTable
from s4core.train.report import EpochReport
from sweeps.types import Objective, SweepEvents, SweepResult, TrialResult, TrialSpec, TrialState

KNOWN = SweepResult(name="demo", objective=Objective(), trials=())


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        sweep="demo",
        number=number,
        data={"name": "smnist"},
        model={"name": "s4d"},
        train={"epochs": 12},
        objective=Objective(),
        seed=0,
        params={"model.n_layers": 3, "train.lr": 0.00123456},
    )


def report(epoch: int, value: float, *, best: bool = True) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/accuracy": value, "epoch_s": 2.5}, best=best)


def play(events: SweepEvents) -> None:
    events.trial_started(spec(0))
    events.trial_reported(0, report(1, 0.5))
    events.trial_reported(0, report(2, 0.4, best=False))
    events.trial_started(spec(1))
    events.trial_ended(
        TrialResult(number=0, state=TrialState.STOPPED, value=0.5, best_epoch=1, epochs=2)
    )
    events.trial_ended(TrialResult(number=1, state=TrialState.FAILED, error="ValueError: no"))


def test_lines_tell_the_story_without_control_characters() -> None:
    out = io.StringIO()
    play(Lines(out, known=KNOWN, target=8))
    assert out.getvalue().splitlines() == [
        "trial 0 started: n_layers=3, lr=0.00123",
        "trial 0 epoch 1: val/accuracy 0.5000 (2.5 s) *",
        "trial 0 epoch 2: val/accuracy 0.4000 (2.5 s)",
        "trial 1 started: n_layers=3, lr=0.00123",
        "trial 0 stopped: best 0.5000 at epoch 1 [1/8 done]",
        "trial 1 failed: ValueError: no [1/8 done]",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(Lines(None, known=KNOWN, target=8))
    assert capsys.readouterr().out == ""


def test_json_lines_hold_what_happened() -> None:
    out = io.StringIO()
    play(JsonLines(out))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == [
        *("started", "epoch", "epoch", "started", "ended", "ended")
    ]
    assert EpochReport.from_json(events[1]) == report(1, 0.5)
    assert events[5]["error"] == "ValueError: no"


def drawn(table: LiveTable) -> str:
    out = io.StringIO()
    Console(file=out, width=110).print(table.table())
    return out.getvalue()


def test_the_table_shows_state_best_and_error() -> None:
    table = LiveTable(Console(file=io.StringIO()), known=KNOWN, target=8)
    play(table)
    text = drawn(table)
    assert "1/8 done, 0 running, 1 failed" in text
    row = next(line for line in text.splitlines() if "stopped" in line)
    assert "2/12" in row and "0.4000" in row and "0.5000" in row and "n_layers=3" in row
    assert "ValueError: no" in text


def test_a_long_sweep_shows_its_running_and_latest_trials() -> None:
    table = LiveTable(Console(file=io.StringIO()), known=KNOWN, target=100)
    for number in range(60):
        table.trial_started(spec(number))
        if number > 0:
            table.trial_ended(TrialResult(number=number, state=TrialState.COMPLETED, value=0.1))
    rows = [line for line in drawn(table).splitlines() if "completed" in line or "running" in line]
    rows = rows[1:]  # the title
    assert len(rows) == SHOWN
    assert " 0 " in rows[0] and "59" in rows[-1]


def test_a_resumed_sweep_counts_and_shows_what_was_done_before() -> None:
    done = TrialResult(number=0, state=TrialState.COMPLETED, value=0.9, best_epoch=3, epochs=4)
    known = SweepResult(name="demo", objective=Objective(), trials=(done,))
    out = io.StringIO()
    ended = TrialResult(number=1, state=TrialState.PRUNED, value=0.2, best_epoch=1, epochs=1)
    Lines(out, known=known, target=8).trial_ended(ended)
    assert "[2/8 done]" in out.getvalue()
    assert "0.9000" in drawn(LiveTable(Console(file=io.StringIO()), known=known, target=8))
