"""When a sweep will be over, against cases that can be worked out by hand."""

from __future__ import annotations

import pytest

from cluster.pace import Pace
from s4core.train.report import EpochReport
from sweeps.types import Objective, SweepResult, TrialResult, TrialSpec, TrialState

DONE = TrialResult(number=0, state=TrialState.COMPLETED, value=0.9, best_epoch=3, epochs=4)


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pace(*known: TrialResult, target: int) -> tuple[Pace, Clock]:
    clock = Clock()
    result = SweepResult(name="demo", objective=Objective(), trials=known)
    return Pace(result, lambda: target, clock=clock), clock


def start(pace: Pace, number: int, epochs: int = 10) -> None:
    pace.trial_started(
        TrialSpec(
            sweep="demo",
            number=number,
            data={"name": "smnist"},
            model={"name": "s4d"},
            train={"epochs": epochs},
            objective=Objective(),
            seed=0,
        )
    )


def report(pace: Pace, number: int, epoch: int) -> None:
    pace.trial_reported(number, EpochReport(epoch=epoch, metrics={}))


def end(pace: Pace, number: int, epochs: int, state: TrialState = TrialState.COMPLETED) -> None:
    pace.trial_ended(TrialResult(number=number, state=state, epochs=epochs))


def test_nothing_is_said_before_the_first_epoch() -> None:
    ours, _ = pace(target=4)
    assert ours.left_s() is None
    start(ours, 0)
    assert ours.left_s() is None
    assert ours.words() == ""


def test_the_first_epoch_is_enough() -> None:
    """Two trials of 10 epochs at 5 s an epoch: 9 epochs of this one and 10 of the next."""
    ours, clock = pace(target=2)
    start(ours, 0)
    clock.now = 5.0
    report(ours, 0, 1)
    assert ours.left_s() == pytest.approx(19 * 5.0)
    assert ours.words() == ", about 95 s left"


def test_pruned_trials_shorten_what_is_expected_of_those_to_come() -> None:
    """Three trials of 1 epoch are over, one to come is taken to have one epoch too."""
    ours, clock = pace(target=4)
    for number in range(3):
        start(ours, number)
        clock.now += 2.0
        report(ours, number, 1)
        end(ours, number, 1, TrialState.PRUNED)
    assert ours.left_s() == pytest.approx(2.0)


def test_a_trial_that_has_outlived_the_others_is_taken_to_its_end() -> None:
    ours, clock = pace(target=2)
    start(ours, 0)
    report(ours, 0, 1)
    end(ours, 0, 1, TrialState.PRUNED)
    start(ours, 1)
    report(ours, 1, 1)
    report(ours, 1, 2)
    clock.now = 3.0
    assert ours.left_s() == pytest.approx(8 * 1.0)


def test_earlier_drivers_trials_count_and_failed_ones_do_not() -> None:
    ours, _ = pace(DONE, target=3)
    assert ours.done == 1
    start(ours, 1)
    end(ours, 1, 0, TrialState.FAILED)
    assert ours.done == 1


def test_trials_that_were_asked_for_since_count_as_the_next_one_starts() -> None:
    wanted = [1]
    result = SweepResult(name="demo", objective=Objective(), trials=())
    ours = Pace(result, lambda: wanted[0])
    start(ours, 0)
    wanted[0] = 3
    assert ours.target == 1
    start(ours, 1)
    assert ours.target == 3


def test_nothing_is_left_at_the_end() -> None:
    ours, clock = pace(target=1)
    start(ours, 0, epochs=1)
    clock.now = 9.0
    report(ours, 0, 1)
    end(ours, 0, 1)
    assert (ours.left_s(), ours.words()) == (0.0, "")
