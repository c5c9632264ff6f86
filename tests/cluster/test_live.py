"""What is said of a running sweep, in a pipe and to a program."""

from __future__ import annotations

import dataclasses
import io
import json
import re

import pytest
from told_sweep import KNOWN, play, report, spec

from cluster.live import JsonLines, Lines
from s4core.train.report import EpochReport
from sweeps.types import Objective, SweepResult, TrialResult, TrialSpec, TrialState


def test_lines_tell_the_story_without_control_characters() -> None:
    out = io.StringIO()
    play(Lines(out, known=KNOWN, target=lambda: 8))
    said = re.sub(", about [0-9]+ s left", "", out.getvalue())
    assert said.splitlines() == [
        "trial 0 started: n_layers=3, lr=0.00123",
        "trial 0 epoch 1: val/accuracy 0.5000 (2.5 s) *",
        "trial 0 epoch 2: val/accuracy 0.4000 (2.5 s)",
        "trial 1 started: n_layers=3, lr=0.00123",
        "trial 0 stopped: best 0.5000 at epoch 1 [1/8 done]",
        "trial 1 failed: ValueError: no [1/8 done]",
    ]


def test_lines_tell_every_objective() -> None:
    both = (Objective(), Objective(metric="val/loss", mode="min"))
    known, out = (
        SweepResult(name="demo", objective=both[0], objectives=both, trials=()),
        io.StringIO(),
    )
    lines = Lines(out, known=known, target=lambda: 1)
    lines.trial_started(spec(0))
    told = {"val/accuracy": 0.5, "val/loss": 0.75}
    lines.trial_reported(0, EpochReport(epoch=1, metrics=told))
    assert out.getvalue().splitlines()[1] == "trial 0 epoch 1: val/accuracy 0.5000 val/loss 0.7500"


def test_a_trial_of_which_nothing_was_chosen_just_starts() -> None:
    plain = TrialSpec(
        sweep="x", number=3, data={}, model={}, train={}, objective=Objective(), seed=0, params={}
    )
    out = io.StringIO()
    Lines(out, known=KNOWN, target=lambda: 8).trial_started(plain)
    assert out.getvalue() == "trial 3 started\n"


def test_a_member_of_a_population_says_whose_weights_it_takes() -> None:
    out, member = io.StringIO(), dataclasses.replace(spec(3), taken_over=1)
    Lines(out, known=KNOWN, target=lambda: 8).trial_started(member)
    assert out.getvalue() == "trial 3 takes over trial 1: n_layers=3, lr=0.00123\n"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(Lines(None, known=KNOWN, target=lambda: 8))
    assert capsys.readouterr().out == ""


def test_json_lines_hold_what_happened() -> None:
    out = io.StringIO()
    play(JsonLines(out, known=KNOWN, target=lambda: 8))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == [
        *("started", "epoch", "epoch", "started", "ended", "ended")
    ]
    assert EpochReport.from_json(events[1]) == report(1, 0.5)
    assert events[5]["error"] == "ValueError: no"
    assert (events[4]["done"], events[4]["target"]) == (1, 8)
    assert events[1]["left_s"] > 0


def test_preparation_is_told_of_now_and_then_and_at_its_end() -> None:
    out = io.StringIO()
    lines = Lines(out, known=KNOWN, target=lambda: 8)
    for done in range(256, 96_001, 256):
        lines.progress("listops train", done, 96_000)
    assert out.getvalue() == ("listops train: 256 of 96,000\nlistops train: 96,000 of 96,000\n")


def test_a_resumed_sweep_counts_what_was_done_before() -> None:
    done = TrialResult(number=0, state=TrialState.COMPLETED, value=0.9, best_epoch=3, epochs=4)
    known = SweepResult(name="demo", objective=Objective(), trials=(done,))
    out = io.StringIO()
    ended = TrialResult(number=1, state=TrialState.PRUNED, value=0.2, best_epoch=1, epochs=1)
    Lines(out, known=known, target=lambda: 8).trial_ended(ended)
    assert "[2/8 done]" in out.getvalue()
