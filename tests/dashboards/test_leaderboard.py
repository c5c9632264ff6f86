from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from dashboards.leaderboard import brief, duration, leaderboard, others_said, ranking, table
from sweeps.types import Objective, SweepResult, TrialResult, TrialState

RESULT = SweepResult(
    name="demo",
    objective=Objective(metric="val/loss", mode="min"),
    trials=(
        TrialResult(number=0, state=TrialState.FAILED, error="[bold]no[/bold] " + "x" * 99),
        TrialResult(
            number=1,
            state=TrialState.STOPPED,
            value=0.5,
            best_epoch=3,
            epochs=6,
            params={"model": "s4d", "model.s4d.init": "lin", "train.lr": 0.012345678},
        ),
        TrialResult(
            number=2, state=TrialState.COMPLETED, value=0.25, best_epoch=6, epochs=6, seconds=7300
        ),
        TrialResult(number=3, state=TrialState.RUNNING),
    ),
)


def shown(**options: object) -> str:
    out = StringIO()
    Console(file=out, width=160).print(leaderboard(RESULT, **options))  # type: ignore[arg-type]
    return out.getvalue()


def test_the_best_is_first_and_those_without_a_value_last() -> None:
    assert [t.number for t in ranking(RESULT)] == [2, 1, 0, 3]


def test_the_terminal_sees_ranks_values_and_what_was_chosen() -> None:
    text = shown(test={2: 0.375})
    assert "demo: 4 of 4 trials, by val/loss" in text
    assert "2.0 h" in text
    lines = [line for line in text.splitlines() if "completed" in line or "stopped" in line]
    assert [word in lines[0] for word in ("1", "2", "0.2500", "0.3750", "6")] == [True] * 5
    assert "6 (best 3)" in lines[1]
    assert "model=s4d  s4d.init=lin  lr=0.01235" in lines[1]


def test_without_a_driver_no_trial_is_running() -> None:
    assert " running " in shown()
    assert " running " not in shown(driven=False)
    assert " interrupted " in shown(driven=False)


def test_seeds_are_shown_as_their_mean_and_spread() -> None:
    first = TrialResult(number=0, state=TrialState.COMPLETED, value=0.5, repeats=(0.25, 0.75))
    second = TrialResult(number=1, state=TrialState.COMPLETED, value=0.75, replicate_of=0)
    result = SweepResult(name="seeds", objective=Objective(), trials=(first, second))
    assert [t.number for t in ranking(result)] == [0, 1]
    out = StringIO()
    Console(file=out, width=160).print(leaderboard(result))
    assert "seeds: 1 of 1 trial," in out.getvalue()
    assert "0.5000 +- 0.3536" in out.getvalue()


def test_every_objective_is_shown_and_the_front_is_marked() -> None:
    objectives = (Objective(), Objective(metric="val/loss", mode="min"))
    done = {"state": TrialState.COMPLETED}
    trials = (
        TrialResult(number=0, value=0.5, values=(0.5, 0.125), **done),
        TrialResult(number=1, value=0.75, values=(0.75, 0.25), **done),
        TrialResult(number=2, value=0.25, values=(0.25, 0.375), **done),
        TrialResult(number=3, state=TrialState.RUNNING),
    )
    result = SweepResult(name="two", objective=objectives[0], objectives=objectives, trials=trials)
    out = StringIO()
    Console(file=out, width=160).print(leaderboard(result))
    assert "by val/accuracy (* on the front)" in out.getvalue()
    lines = [line.split("\u2502") for line in out.getvalue().splitlines()[4:8]]
    rows = [[cell.strip() for cell in line[2:5]] for line in lines]
    assert rows[:2] == [["* 1", "0.7500", "0.2500"], ["* 0", "0.5000", "0.1250"]]
    assert rows[2:] == [["2", "0.2500", "0.3750"], ["3", "-", "-"]]
    assert others_said(result, trials[1]) == ", val/loss 0.2500"
    plain = table(result)
    assert plain["columns"][3:5] == ["val/accuracy", "val/loss"]
    assert [row[3:5] for row in plain["data"]][1:] == [[0.5, 0.125], [0.25, 0.375], [None, None]]


def test_an_error_is_cut_short_and_is_no_markup() -> None:
    assert "[bold]no[/bold] xxx" in shown()
    assert len(brief("x" * 99)) == 60
    assert brief("one\ntwo") == "one"
    assert brief(None) == ""


def test_as_plain_columns_it_has_every_trial_and_parameter() -> None:
    plain = table(RESULT)
    assert plain["columns"][:4] == ["rank", "trial", "state", "val/loss"]
    assert plain["columns"][-3:] == ["model", "model.s4d.init", "train.lr"]
    assert plain["data"][0][:4] == [1, 2, "completed", 0.25]
    assert len({len(row) for row in plain["data"]}) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")),
        *((150_000, "41.7 h"), (432_000, "5.0 d")),
    ],
)
def test_durations_are_told_in_a_fitting_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_narrow_terminal_cuts_no_figure_and_has_the_settings_below() -> None:
    others = (("val/loss", "min"), ("val/f1", "max"))
    objectives = (Objective(), *(Objective(metric=m, mode=mode) for m, mode in others))  # type: ignore[arg-type]
    trial = TrialResult(
        number=7,
        state=TrialState.COMPLETED,
        value=0.75,
        values=(0.75, 0.25, 0.125),
        best_epoch=2,
        epochs=3,
        params={"model.s4d.d_state": 8, "train.lr": 0.012345678},
    )
    result = SweepResult(
        name="three", objective=objectives[0], objectives=objectives, trials=(trial,)
    )
    out = StringIO()
    Console(file=out, width=80).print(leaderboard(result, test={7: 0.5}, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    figures = ["1", "*", "7", "0.7500", "0.2500", "0.1250", "0.5000"]
    assert [*figures, "completed", "3", "(best", "2)", "0", "s"] in lines
    assert ["trial", "7", "s4d.d_state=8", "lr=0.01235"] in lines
