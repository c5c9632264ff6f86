"""The roster over a real study, without Ray: what is issued, taken in, stopped and given back."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import pytest
from engine_contract import Watcher, tiny

from cluster.roster import Limits, Roster
from cluster.worker import Failure, Job
from s4core.train.report import EpochReport
from sweeps import Finished, Study, SweepLock, SweepLocked, Waiting
from sweeps.types import TrialState


def report(epoch: int, value: float = 0.5, **about: Any) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/accuracy": value, "epoch_s": 1.0}, **about)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tiny(tmp_path, search={"trials": 4}), tmp_path)


def roster(study: Study, watcher: Watcher, *, at_once: int = 2, **more: Any) -> Roster:
    is_ours = more.pop("is_ours", lambda: True)
    return Roster(
        study,
        watcher,
        job=functools.partial(Job, home=str(study.home)),
        limits=Limits(at_once=lambda: at_once, **more),
        is_ours=is_ours,
    )


def issue(roster: Roster, tune_id: str) -> int:
    job = roster.next_job(tune_id)
    assert isinstance(job, Job), job
    roster.started(tune_id)
    return job.spec.number


def test_no_more_are_out_than_may_be(study: Study) -> None:
    some = roster(study, Watcher(), at_once=2)
    assert [issue(some, "a"), issue(some, "b")] == [0, 1]
    assert isinstance(some.next_job("c"), Waiting)
    some.reported("a", report(1, stopped_by="epochs"))
    some.ended("a")
    assert issue(some, "c") == 2


def test_what_a_drained_roster_had_out_is_issued_first_by_the_next(study: Study) -> None:
    first = roster(study, Watcher())
    issue(first, "a")
    issue(first, "b")
    first.reported("a", report(1))
    first.drain()
    assert not first.is_drained
    assert first.reported("b", report(1)), "stop after the epoch in hand"
    first.ended("b")
    first.ended("a")
    assert first.is_drained
    assert isinstance(first.next_job("c"), Finished)
    assert [t.state for t in study.result().trials] == [TrialState.RUNNING] * 2

    watcher = Watcher()
    second = roster(study, watcher)
    assert [issue(second, "c"), issue(second, "d")] == [0, 1]
    for epoch in (1, 2):
        second.reported("c", report(epoch))
    assert watcher.epochs == {0: [2]}, "an epoch that was known is not said again"


def test_a_driver_that_was_replaced_while_it_stood_still_writes_nothing(study: Study) -> None:
    owner = [True]
    some = roster(study, Watcher(), is_ours=lambda: owner[0])
    issue(some, "a")
    some.reported("a", report(1))
    owner[0] = False
    assert some.reported("a", report(2, 0.9)), "the trial is stopped"
    some.ended("a", Failure(error="ValueError: no", signature="x"))
    assert isinstance(some.fault, SweepLocked)
    (trial,) = study.result().trials
    assert (trial.state, trial.epochs, trial.value) == (TrialState.RUNNING, 1, 0.5)


def test_losses_are_no_errors_of_the_trials_own(tmp_path: Path) -> None:
    """Three trials lose their workers for good, in a row: neither budget for errors is touched."""
    search = {"trials": 4, "max_failures": 3}
    study = Study.create(tiny(tmp_path, search=search), tmp_path)
    some = roster(study, Watcher(), at_once=1, losses=0, same_error=3)
    for tune_id in ("a", "b", "c"):
        issue(some, tune_id)
        some.given_up(tune_id)
    assert some.stop_reason is None
    for tune_id in ("d", "e", "f"):
        issue(some, tune_id)
        some.ended(tune_id, Failure(error=f"ValueError: {tune_id}", signature=tune_id))
    issue(some, "g")
    some.given_up("g")
    assert some.next_job("h") == Finished(
        "4 trials failed (max_failures: 3); the last: lost its worker or node 1 times in a row "
        "within one epoch"
    )


def test_the_same_error_in_a_row_stops_the_sweep_and_another_one_breaks_the_row(
    study: Study,
) -> None:
    some = roster(study, Watcher(), at_once=1, same_error=2)
    for tune_id, signature in (("a", "x"), ("b", "y"), ("c", "y")):
        assert some.stop_reason is None
        issue(some, tune_id)
        some.ended(tune_id, Failure(error=f"ValueError: {signature}", signature=signature))
    assert some.stop_reason == "2 trials in a row failed with the same error: ValueError: y"


def test_a_metric_that_no_trial_reports_ends_the_sweep_with_its_name(study: Study) -> None:
    some = roster(study, Watcher())
    issue(some, "a")
    assert some.reported("a", EpochReport(epoch=1, metrics={"val/loss": 1.0}))
    assert "trials report no 'val/accuracy'; there are val/loss" in str(some.fault)


def test_only_one_trial_is_issued_when_only_one_was_asked_for(study: Study) -> None:
    some = roster(study, Watcher(), only=0)
    assert issue(some, "a") == 0
    assert isinstance(some.next_job("b"), Finished)


def test_a_failure_is_named_by_kind_and_place() -> None:
    def fail(text: str) -> Failure:
        try:
            raise ValueError(text)
        except ValueError as error:
            return Failure.of(error)

    one, two = fail("step 1\nis bad"), fail("step 2 is bad")
    assert one.error.startswith("ValueError: step 1 is bad (test_roster.py:")
    assert one.signature == two.signature


def test_tune_may_pickle_a_roster_whose_lock_is_held(study: Study) -> None:
    """Tune writes its searcher down when it starts, for a restore that nobody asks for."""
    with SweepLock(study.folder) as lock:
        some = roster(study, Watcher(), is_ours=lock.is_held)
        assert vars(pickle.loads(pickle.dumps(some))) == {}
        assert issue(some, "a") == 0
