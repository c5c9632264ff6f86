"""The live table, as it is drawn."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

from rich.console import Console
from told_sweep import KNOWN, play, report, spec

from cluster.table import SHOWN, LiveTable
from s4core.train.report import EpochReport
from sweeps.progress import FILE
from sweeps.types import Objective, SweepResult, TrialResult, TrialState


def table(folder: Path, *, known: SweepResult = KNOWN, target: int = 8) -> LiveTable:
    console = Console(file=io.StringIO())
    return LiveTable(
        console, known=known, target=lambda: target, trial_folder=lambda n: folder / str(n)
    )


def drawn(table: LiveTable, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table.drawn())
    return out.getvalue()


def line(text: str, word: str) -> str:
    return next(line for line in text.splitlines()[1:] if word in line)


def test_it_shows_state_best_and_error(tmp_path: Path) -> None:
    ours = table(tmp_path)
    play(ours)
    text = drawn(ours)
    assert "1/8 done, 0 running, 1 failed" in text
    row = line(text, "stopped")
    assert "2/12" in row and "0.4000" in row and "0.5000" in row and "n_layers=3" in row
    assert "ValueError: no" in text


def test_a_long_epoch_has_a_bar_and_a_gpu_its_use(tmp_path: Path) -> None:
    """Both from the file that the worker writes; nothing of them is shown without it."""
    ours = table(tmp_path)
    ours.trial_started(spec(0))
    assert "within" in drawn(ours) and "GPU" not in drawn(ours)
    (tmp_path / "0").mkdir()
    word = {"split": "train", "done": 40, "total": 80}
    word["host"] = {"system/gpu_3_utilization_percentage": 87.0}
    (tmp_path / "0" / FILE).write_text(json.dumps(word))
    text = drawn(ours)
    assert "GPU 87 %" in text.splitlines()[0]
    assert "train" in line(text, "running") and "87 %" in line(text, "running")
    quick = EpochReport(epoch=1, metrics={"epoch_s": 0.2, "samples_per_s": 1500.0})
    ours.trial_reported(0, quick)
    assert "within" not in drawn(ours)
    assert "1,500 samples/s" in drawn(ours)


def test_preparation_has_a_bar_until_the_next_note(tmp_path: Path) -> None:
    ours = table(tmp_path)
    ours.progress("listops train", 24_000, 96_000)
    assert "24000/96000" in line(drawn(ours), "listops train")
    ours.note("testing the best trial")
    assert "listops" not in drawn(ours) and "testing" in drawn(ours)


def test_a_long_sweep_shows_its_running_and_latest_trials(tmp_path: Path) -> None:
    ours = table(tmp_path, target=100)
    for number in range(60):
        ours.trial_started(spec(number))
        if number > 0:
            ours.trial_ended(TrialResult(number=number, state=TrialState.COMPLETED, value=0.1))
    lines = drawn(ours).splitlines()[1:]
    rows = [line for line in lines if "completed" in line or "running" in line]
    assert len(rows) == SHOWN
    assert " 0 " in rows[0] and "59" in rows[-1]


def test_more_running_trials_than_rows_leave_no_room_for_others(tmp_path: Path) -> None:
    ours = table(tmp_path, target=100)
    for number in range(40):
        ours.trial_started(spec(number))
        if number < 20:
            ours.trial_ended(TrialResult(number=number, state=TrialState.COMPLETED, value=0.1))
    assert "completed" not in drawn(ours)


def test_a_resumed_sweep_shows_what_was_done_before(tmp_path: Path) -> None:
    done = TrialResult(number=0, state=TrialState.COMPLETED, value=0.9, best_epoch=3, epochs=4)
    known = SweepResult(name="demo", objective=Objective(), trials=(done,))
    assert "0.9000" in drawn(table(tmp_path, known=known))


def test_every_objective_has_a_column(tmp_path: Path) -> None:
    both = (Objective(), Objective(metric="val/loss", mode="min"))
    done = TrialResult(number=0, state=TrialState.COMPLETED, value=0.9, values=(0.9, 0.25))
    known = SweepResult(name="demo", objective=both[0], objectives=both, trials=(done,))
    ours = table(tmp_path, known=known)
    for number in (1, 2):
        ours.trial_started(spec(number))
    told = {"val/accuracy": 0.5, "val/loss": 0.75, "epoch_s": 2.0}
    ours.trial_reported(1, EpochReport(epoch=1, metrics=told))
    bar = "\u2502"
    rows = [text.replace(" ", "").split(bar) for text in drawn(ours).splitlines() if bar in text]
    assert [row[5:9] for row in rows] == [
        ["-", "0.9000", "0.2500", "-"],
        ["0.5000", "-", "0.7500", "2.0"],
        ["-", "-", "-", "-"],
    ]
    assert "val/loss" in drawn(ours)


def test_a_report_is_the_best_so_far(tmp_path: Path) -> None:
    ours = table(tmp_path)
    ours.trial_started(spec(0))
    ours.trial_reported(0, report(1, 0.5))
    ours.trial_reported(0, report(2, 0.4, best=False))
    row = line(drawn(ours), "running")
    assert "0.4000" in row and "0.5000" in row


def test_a_lucky_repeat_is_not_the_best(tmp_path: Path) -> None:
    ours, out = table(tmp_path), io.StringIO()
    for number, value, repeats in ((0, 0.5, None), (1, 0.9, 0)):
        ours.trial_started(dataclasses.replace(spec(number), replicate_of=repeats))
        ours.trial_reported(number, report(1, value))
    Console(file=out, width=120, force_terminal=True, color_system="standard").print(ours.drawn())
    green = "\x1b[1;32m"
    assert f"{green}0.5000" in out.getvalue() and f"{green}0.9000" not in out.getvalue()


def test_settings_give_way_where_the_terminal_is_narrow(tmp_path: Path) -> None:
    ours = table(tmp_path)
    params = {f"model.setting_{i}": 0.123456 for i in range(20)}
    ours.trial_started(dataclasses.replace(spec(0), params=params))
    ours.trial_reported(0, report(1, 0.5))
    text = drawn(ours, width=80)
    for word in ("trial", "state", "epoch", "val/accuracy", "s/epoch", "running", "1/12"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    assert len([line for line in text.splitlines() if "setting_0" in line]) == 1
