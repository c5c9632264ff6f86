"""The roster over a real study, without Ray: what is issued, taken in, stopped and given back."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import pytest
from engine_contract import Watcher, tiny
from fused_contract import crowded

from cluster.roster import Limits, Roster
from cluster.worker import Failure, Job
from s4core.train.report import EpochReport
from sweeps import Finished, Study, SweepLock, SweepLocked, Waiting
from sweeps.crew import Crews
from sweeps.types import TrialState


def report(epoch: int, value: float = 0.5, **about: Any) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/accuracy": value, "epoch_s": 1.0}, **about)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tiny(tmp_path, search={"trials": 4}), tmp_path)


def roster(study: Study, watcher: Watcher, *, at_once: int = 2, **more: Any) -> Roster:
    is_ours = more.pop("is_ours", lambda: True)
    return Roster(
        Crews(study, only=more.pop("only", None)),
        watcher,
        job=functools.partial(Job, home=str(study.home)),
        limits=Limits(at_once=lambda: at_once, **more),
        is_ours=is_ours,
    )


def issue(roster: Roster, tune_id: str) -> int:
    job = roster.next_job(tune_id)
    assert isinstance(job, Job), job
    roster.started(tune_id)
    return job.specs[0].number


def test_no_more_are_out_than_may_be(study: Study) -> None:
    some = roster(study, Watcher(), at_once=2)
    assert [issue(some, "a"), issue(some, "b")] == [0, 1]
    assert isinstance(some.next_job("c"), Waiting)
    some.heard("a", [(0, report(1, stopped_by="epochs"))])
    some.ended("a")
    assert issue(some, "c") == 2


def test_what_a_drained_roster_had_out_is_issued_first_by_the_next(study: Study) -> None:
    first = roster(study, Watcher())
    issue(first, "a")
    issue(first, "b")
    first.heard("a", [(0, report(1))])
    first.drain()
    assert not first.is_drained
    assert first.heard("b", [(1, report(1))]), "stop after the epoch in hand"
    first.ended("b")
    first.ended("a")
    assert first.is_drained
    assert isinstance(first.next_job("c"), Finished)
    assert [t.state for t in study.result().trials] == [TrialState.RUNNING] * 2

    watcher = Watcher()
    second = roster(study, watcher)
    assert [issue(second, "c"), issue(second, "d")] == [0, 1]
    for epoch in (1, 2):
        second.heard("c", [(0, report(epoch))])
    assert watcher.epochs == {0: [2]}, "an epoch that was known is not said again"


def test_a_driver_that_was_replaced_while_it_stood_still_writes_nothing(study: Study) -> None:
    owner = [True]
    some = roster(study, Watcher(), is_ours=lambda: owner[0])
    issue(some, "a")
    some.heard("a", [(0, report(1))])
    owner[0] = False
    assert some.heard("a", [(0, report(2, 0.9))]), "the trial is stopped"
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


def test_a_worker_that_dies_as_it_takes_up_a_trial_costs_it_nothing_but_a_loss(
    study: Study,
) -> None:
    """Tune does not start such a trial again; the roster does, as often as after other losses."""
    watcher = Watcher()
    some = roster(study, watcher, at_once=1, losses=2)
    for tune_id in ("a", "b"):
        assert issue(some, tune_id) == 0
        some.given_up(tune_id)
    assert watcher.ended == {}
    assert issue(some, "c") == 0
    some.heard("c", [(0, report(1))])
    some.given_up("c")
    assert watcher.notes[-1].startswith("trial 0 lost its worker after epoch 1")
    assert issue(some, "d") == 0
    some.lost("d", "killed")
    some.given_up("d")
    assert watcher.ended[0].error == "lost its worker or node 3 times in a row within one epoch"


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
    assert some.heard("a", [(0, EpochReport(epoch=1, metrics={"val/loss": 1.0}))])
    assert "trials report no 'val/accuracy'; there are val/loss" in str(some.fault)


def test_only_one_trial_is_issued_when_only_one_was_asked_for(study: Study) -> None:
    first = roster(study, Watcher())
    for tune_id in ("a", "b"):
        issue(first, tune_id)
    first.heard("b", [(1, report(1, stopped_by="epochs"))])
    first.ended("b")
    first.abandon()
    study.reopen(1, epochs=2)
    some = roster(study, Watcher(), only=1)
    assert issue(some, "c") == 1, "and not the orphan"
    assert isinstance(some.next_job("d"), Waiting)
    some.heard("c", [(1, report(2, stopped_by="epochs"))])
    some.ended("c")
    assert isinstance(some.next_job("e"), Finished)


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


def crowded_roster(folder: Path, watcher: Watcher, **limits: Any) -> Roster:
    """Over a sweep whose first three trials are one crew, called "a"."""
    study = Study.create(crowded(folder, search={"trials": 9, "max_failures": 9}), folder)
    some = roster(study, watcher, at_once=1, **limits)
    job = some.next_job("a")
    assert isinstance(job, Job) and [spec.number for spec in job.specs] == [0, 1, 2]
    some.started("a")
    return some


def issued(roster: Roster, tune_id: str) -> list[int]:
    job = roster.next_job(tune_id)
    assert isinstance(job, Job), job
    return [spec.number for spec in job.specs]


def test_when_one_of_a_crew_ends_the_others_go_on_in_the_next(tmp_path: Path) -> None:
    watcher = Watcher()
    some = crowded_roster(tmp_path, watcher)
    assert not some.heard("a", [(n, report(1)) for n in range(3)])
    said = [(0, report(2)), (1, report(2, stopped_by="patience")), (2, report(2))]
    assert some.heard("a", said)
    some.ended("a")
    assert {n: t.state for n, t in watcher.ended.items()} == {1: TrialState.STOPPED}
    assert issued(some, "b") == [0, 2, 3]
    some.started("b")
    assert watcher.started == [0, 1, 2, 3], "who goes on is no news"
    some.heard("b", [(0, report(1)), (0, report(2)), (2, report(1)), (2, report(2))])
    some.heard("b", [(0, report(3)), (2, report(3)), (3, report(1))])
    assert watcher.epochs == {0: [1, 2, 3], 1: [1, 2], 2: [1, 2, 3], 3: [1]}


def test_one_error_of_a_whole_crew_counts_once_in_a_row(tmp_path: Path) -> None:
    watcher = Watcher()
    some = crowded_roster(tmp_path, watcher, same_error=2)
    failure = Failure(error="Diverged: no", signature="Diverged at ?")
    assert some.heard("a", [(n, failure) for n in range(3)])
    some.ended("a")
    assert [t.state for t in watcher.ended.values()] == [TrialState.FAILED] * 3
    assert some.stop_reason is None
    assert issued(some, "b") == [3, 4, 5]
    some.started("b")
    some.heard("b", [(4, failure)])
    some.ended("b")
    assert some.stop_reason == "2 trials in a row failed with the same error: Diverged: no"


def test_a_crew_that_lost_too_many_workers_is_parted(tmp_path: Path) -> None:
    watcher = Watcher()
    some = crowded_roster(tmp_path, watcher, losses=1)
    some.lost("a", "killed")
    some.given_up("a")
    assert watcher.ended == {}
    assert issued(some, "b") == [0]
    some.lost("b", "killed")
    some.given_up("b")
    assert {n: (t.state, t.lost) for n, t in watcher.ended.items()} == {
        0: (TrialState.FAILED, True)
    }


def test_what_was_out_when_tune_broke_is_issued_by_the_next_attempt(tmp_path: Path) -> None:
    some = crowded_roster(tmp_path, Watcher())
    some.abandon()
    assert issued(some, "b") == [0, 1, 2]
