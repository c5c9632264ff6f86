"""The study: who is next, what is kept, and what survives the death of a driver."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import (
    Finished,
    Outcome,
    Study,
    TrialResult,
    TrialSpec,
    TrialState,
    Waiting,
    budgets,
    record,
)

Load = Callable[..., sweeps.SweepSpec]


def begin(spec: sweeps.SweepSpec, home: Path) -> Study:
    study = Study.create(spec, home)
    study.recover()
    return study


def run(
    study: Study, spec: TrialSpec, curve: list[float] | None = None, error: str | None = None
) -> TrialResult:
    """Play a trial: a curve of val/accuracy, by default one that rises with the learning rate."""
    outcome = Outcome(study.spec.objectives)
    values = curve or [0.1, 0.2, 0.3 + spec.train["lr"]]
    for epoch, value in enumerate(values, start=1):
        last = "epochs" if epoch == len(values) else None
        metrics = {"val/accuracy": value, "val/loss": -value, "epoch_s": 1.0}
        report = EpochReport(epoch=epoch, metrics=metrics, stopped_by=last)
        outcome.add(report)
        if study.report(spec.number, report):
            return study.tell(outcome.result(spec, pruned=True))
    return study.tell(outcome.result(spec, error=error))


def play(study: Study) -> list[TrialResult]:
    """Run the sweep to its end."""
    told = []
    while isinstance(spec := study.ask(), TrialSpec):
        told.append(run(study, spec))
    assert isinstance(spec, Finished), spec
    return told


def test_a_sweep_has_the_asked_number_of_trials_and_the_best_of_the_curve(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    told = run(study, spec, curve=[0.5, 0.9, 0.7])
    assert (told.value, told.best_epoch, told.epochs) == (0.9, 2, 3)
    play(study)
    result = Study.open("tiny", tmp_path).result()
    assert [t.number for t in result.trials] == [0, 1, 2, 3]
    assert result.best is not None and result.best.number == 0
    assert all(t.params.keys() >= {"model", "train.lr"} for t in result.trials)
    kept = json.loads((study.trial_folder(0) / "result.json").read_text())
    assert TrialResult.from_json(kept) == result.trials[0]


def test_orphans_are_handed_out_first_and_nothing_is_run_again(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    first = begin(tiny, tmp_path)
    done, left = first.ask(), first.ask()
    assert isinstance(done, TrialSpec) and isinstance(left, TrialSpec)
    run(first, done)
    first.report(left.number, EpochReport(epoch=1, metrics={"val/accuracy": 0.4}))
    second = Study.open("tiny", tmp_path)  # the first driver is gone
    second.recover()
    assert second.ask() == left
    assert second.report(left.number, EpochReport(epoch=1, metrics={"val/accuracy": 0.4})) is False
    run(second, left)
    play(second)
    states = Counter(t.state for t in second.result().trials)
    assert states == {TrialState.COMPLETED: 4}


def test_a_driver_killed_between_the_steps_of_a_tell_loses_nothing(
    tiny: sweeps.SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = begin(tiny, tmp_path)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.study.settle", killed)  # the result is kept, Optuna was not told
    with pytest.raises(KeyboardInterrupt):
        run(study, spec)
    monkeypatch.undo()
    second = Study.open("tiny", tmp_path)
    second.recover()
    again = second.ask()
    assert isinstance(again, TrialSpec) and again.number != spec.number
    assert second.result().trials[0].state is TrialState.COMPLETED


def test_a_failed_or_diverged_trial_is_replaced_and_never_best(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    for n, curve in enumerate([[0.99, math.nan], [math.nan, math.nan]]):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        told = run(study, spec, curve=curve, error="Diverged: loss is nan" if n == 0 else None)
        assert told.state is TrialState.FAILED
        assert told.error and ("nan" in told.error or "no finite value" in told.error)
    play(study)
    states = Counter(t.state for t in study.result().trials)
    assert states == {TrialState.FAILED: 2, TrialState.COMPLETED: 4}
    assert study.best() is not None and study.best().value < 0.9  # type: ignore[union-attr]


def test_too_many_failures_end_the_sweep(load: Load, tiny_text: str, tmp_path: Path) -> None:
    study = begin(load(tiny_text.replace("trials: 4", "trials: 4, max_failures: 2")), tmp_path)
    for _ in range(3):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        run(study, spec, error="ValueError: no luck")
    end = study.ask()
    assert isinstance(end, Finished)
    assert end.reason == "3 trials failed (max_failures: 2); the last: ValueError: no luck"


def test_another_process_extends_enqueues_pauses_and_stops(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    driver = begin(tiny, tmp_path)
    play(driver)
    other = Study.open("tiny", tmp_path)
    assert other.extend(2) == 6
    other.enqueue({"train.lr": 0.05, "model": "s4d", "model.s4d.init": "inv"})
    other.paused = True
    assert driver.ask() == Waiting("paused")
    other.paused = False
    spec = driver.ask()
    assert isinstance(spec, TrialSpec)
    assert (spec.train["lr"], spec.model["init"]) == (0.05, "inv")
    other.stop_trial(spec.number)
    assert run(driver, spec).state is TrialState.PRUNED
    play(driver)
    assert len(driver.result().trials) == 6
    assert driver.result().trials[4].label == "enqueued"


def test_a_trial_that_was_stopped_by_hand_may_be_continued(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    study.stop_trial(spec.number)
    assert run(study, spec).epochs == 1
    study.reopen(spec.number, epochs=3)
    again = study.ask()
    assert isinstance(again, TrialSpec)
    assert run(study, again, curve=[0.1, 0.2, 0.3]).epochs == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train.lrr": 1}, "no parameter 'train.lrr': .*Did you mean 'train.lr'"),
        ({"train.lr": 7.0}, "train.lr: 7.0 is outside of"),
        ({"model": "s5"}, "model: 's5' is outside of"),
        ({"model.s4d.init": "inv"}, "model.s4d.init: not every block has it; give model=s4d too"),
    ],
)
def test_an_enqueued_value_must_be_in_the_space(
    tiny: sweeps.SweepSpec, tmp_path: Path, values: dict[str, object], said: str
) -> None:
    with pytest.raises(sweeps.StudyError, match=said):
        begin(tiny, tmp_path).enqueue(values)


def test_a_finished_trial_is_continued_and_its_result_revised(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    play(study)
    best = study.best()
    assert best is not None
    study.reopen(best.number, epochs=5)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    assert (spec.number, spec.train["epochs"]) == (best.number, 5)
    assert study.result().trials[best.number].state is TrialState.RUNNING
    run(study, spec, curve=[0.1, 0.2, 0.3, 0.4, 0.95])
    again = Study.open("tiny", tmp_path).best()
    assert again is not None
    assert (again.number, again.value, again.epochs) == (best.number, 0.95, 5)
    assert isinstance(study.ask(), Finished)


def test_the_trial_that_was_asked_for_is_continued_and_no_orphan_before_it(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    first = begin(tiny, tmp_path)
    orphan, other = first.ask(), first.ask()
    assert isinstance(orphan, TrialSpec) and isinstance(other, TrialSpec)
    run(first, other)
    study = Study.open("tiny", tmp_path)
    study.recover()
    study.reopen(other.number, epochs=4)
    spec = study.ask(only=other.number)
    assert isinstance(spec, TrialSpec)
    assert (spec.number, spec.train["epochs"]) == (other.number, 4)
    assert isinstance(study.ask(only=other.number), Waiting)
    run(study, spec, curve=[0.1, 0.2, 0.3, 0.4])
    assert study.ask(only=other.number) == Finished(f"only trial {other.number} was asked for")
    assert study.ask() == orphan


def test_a_trial_that_fails_when_it_is_continued_keeps_what_it_had(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    play(study)
    best = study.best()
    assert best is not None
    study.reopen(best.number, epochs=5)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    told = run(study, spec, curve=[0.1, 0.2], error="RuntimeError: out of memory")
    assert (told.state, told.error) == (TrialState.FAILED, "RuntimeError: out of memory")
    assert Study.open("tiny", tmp_path).best() == best
    assert isinstance(study.ask(), Finished)


def test_what_is_enqueued_on_a_grid_that_is_used_up_still_runs(load: Load, tmp_path: Path) -> None:
    spec = load("""
        name: used
        data: {name: listops, train: 8, val: 8, test: 8}
        model: {name: s4d, n_layers: {choice: [1, 2]}}
        train: {lr: 0.01}
        search: {sampler: grid}
        """)
    study = begin(spec, tmp_path)
    assert len(play(study)) == 2
    study.enqueue({"model.n_layers": 2})
    study.enqueue({})
    told = play(study)
    assert [t.params["model.n_layers"] for t in told][0] == 2
    assert len(told) == 2


def test_the_time_of_a_driver_is_written_down_while_its_trials_run(
    tiny: sweeps.SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "WALL_EVERY_S", 0.0)
    study = begin(tiny, tmp_path)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    study.report(spec.number, EpochReport(epoch=1, metrics={"val/accuracy": 0.1}))
    spent = study._wall.seconds
    after = Study.open("tiny", tmp_path)
    after.recover()
    assert 0.0 < study.ledger.attrs()[record.WALL] <= spent
    assert after._wall.seconds >= study.ledger.attrs()[record.WALL]


def test_the_same_configuration_is_not_run_twice(load: Load, tmp_path: Path) -> None:
    spec = load("""
        name: small
        data: {name: listops, train: 8, val: 8, test: 8}
        model: {name: s4d, n_layers: {choice: [1, 2, 3]}, init: {choice: [lin, inv, legs, quad]}}
        train: {lr: 0.01}
        search: {sampler: tpe, trials: 60}
        """)
    study = begin(spec, tmp_path)
    told = play(study)
    assert len(told) == len({json.dumps(t.params, sort_keys=True) for t in told}) == 12
    assert study.ask() == Finished("all 12 configurations have been tried")


def test_where_holds_for_every_trial(load: Load, tiny_text: str, tmp_path: Path) -> None:
    text = tiny_text.replace("trials: 4", "trials: 12") + 'where: ["train.lr * 100 < 1"]\n'
    told = play(begin(load(text), tmp_path))
    assert len(told) == 12
    assert all(t.params["train.lr"] < 0.01 for t in told)
    assert [t.number for t in told] == list(range(12))  # what was refused left no trace


def test_the_pruner_stops_what_is_worse_and_optuna_knows(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    text = tiny_text.replace(
        "sampler: random", "sampler: random, pruner: {name: median, startup: 1}"
    )
    study = begin(load(text), tmp_path)
    good, bad = study.ask(), study.ask()
    assert isinstance(good, TrialSpec) and isinstance(bad, TrialSpec)
    run(study, good, curve=[0.5, 0.6, 0.7])
    told = run(study, bad, curve=[0.3, 0.2, 0.1])
    assert (told.state, told.epochs, told.value) == (TrialState.PRUNED, 2, 0.3)
    assert study.ledger.trial(bad.number).state.name == "PRUNED"


def test_a_metric_that_trials_do_not_report_is_said_with_those_that_they_do(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    study.ask()
    with pytest.raises(sweeps.StudyError, match="no 'val/accuracy'; there are val/loss"):
        study.report(0, EpochReport(epoch=1, metrics={"val/loss": 1.0, "train/loss": 1.0}))


def test_a_name_is_taken_once_and_a_wrong_one_is_answered_with_the_nearest(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    with pytest.raises(sweeps.StudyError, match="no sweep 'tiny': there is none in"):
        Study.open("tiny", tmp_path)
    Study.create(tiny, tmp_path)
    with pytest.raises(sweeps.StudyError, match="there is a sweep 'tiny' already"):
        Study.create(tiny, tmp_path)
    with pytest.raises(sweeps.StudyError, match="Did you mean 'tiny'"):
        Study.open("tinny", tmp_path)


def test_a_lock_and_a_line_that_a_kill_left_cost_less_than_five_seconds(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = begin(tiny, tmp_path)
    spec = study.ask()
    journal = study.folder / "study.journal"
    (study.folder / "study.journal.lock").touch()
    with journal.open("ab") as file:
        file.write(b'{"op_code":9,"wor')
    began = time.monotonic()
    second = Study.open("tiny", tmp_path)
    second.recover()
    assert second.ask() == spec
    play_left = [run(second, spec)] if isinstance(spec, TrialSpec) else []
    assert play_left and time.monotonic() - began < 5
    assert len(play(second)) == 3


DRIVER = """
import sys, random, time
from pathlib import Path
import sweeps
from s4core.train.report import EpochReport
home = Path(sys.argv[1])
with sweeps.SweepLock(home / "sweeps" / "tiny"):
    study = sweeps.Study.open("tiny", home)
    study.recover()
    print("begin", flush=True)
    running = []
    while True:
        while len(running) < 3 and isinstance(spec := study.ask(), sweeps.TrialSpec):
            running.append((spec, sweeps.Outcome(spec.objective), iter(range(1, 6))))
        if not running:
            break
        spec, outcome, epochs = running[0]
        epoch = next(epochs)
        report = EpochReport(epoch=epoch, metrics={"val/accuracy": epoch * spec.train["lr"]},
                             stopped_by="epochs" if epoch == 5 else None)
        outcome.add(report)
        if study.report(spec.number, report) or epoch == 5:
            study.tell(outcome.result(spec))
            print("end", spec.number, flush=True)
            running.pop(0)
        else:
            running.append(running.pop(0))
"""


def test_drivers_killed_at_random_end_with_the_asked_trials(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    study = Study.create(load(tiny_text.replace("trials: 4", "trials: 40")), tmp_path)
    ended: list[str] = []
    rng = random.Random(1)
    for attempt in range(4):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begin\n"
        if attempt < 3:
            time.sleep(rng.uniform(0.02, 0.1))
            driver.send_signal(signal.SIGKILL)
        ended += driver.stdout.read().splitlines()
        driver.wait()
        driver.stdout.close()
    assert len(ended) == len(set(ended))  # no trial was told twice
    result = study.result()
    assert Counter(t.state for t in result.trials) == {TrialState.COMPLETED: 40}
    assert all(t.epochs == 5 for t in result.trials)
