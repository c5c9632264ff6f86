"""The contract of every pruner of the folder: it stops the bad, never the best, and not at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Outcome, Study, TrialResult, TrialSpec, TrialState, catalog

Load = Callable[..., sweeps.SweepSpec]

TEXT = """
name: p
data: {{name: listops, train: 8}}
model: {{name: s4d}}
train: {{epochs: 9, lr: {{log_uniform: [0.001, 0.1]}}}}
search: {{sampler: random, pruner: {pruner}, trials: 30}}
"""


def run(study: Study, spec: TrialSpec, curve: list[float]) -> TrialResult:
    outcome = Outcome(study.spec.objectives)
    for epoch, value in enumerate(curve, start=1):
        last = "epochs" if epoch == len(curve) else None
        report = EpochReport(epoch=epoch, metrics={"val/accuracy": value}, stopped_by=last)
        outcome.add(report)
        if study.report(spec.number, report):
            return study.tell(outcome.result(spec, pruned=True))
    return study.tell(outcome.result(spec))


def rising(top: float) -> list[float]:
    return [top * (1 - 0.5**e) for e in range(1, 10)]


@pytest.mark.parametrize("pruner", catalog.names("pruners"))
def test_the_best_trial_is_never_stopped_and_most_bad_ones_are(
    load: Load, tmp_path: Path, pruner: str
) -> None:
    study = Study.create(load(TEXT.format(pruner=pruner)), tmp_path)
    study.recover()
    bad = []
    for i in range(30):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        if i % 5 == 0:
            told = run(study, spec, rising(0.9 + i / 1000))  # each good one is the best so far
            assert told.state is TrialState.COMPLETED, f"{pruner} stopped the best trial"
        else:
            bad.append(run(study, spec, [0.1 - i / 1000] * 9))
    stopped = [t for t in bad if t.state is TrialState.PRUNED]
    assert (len(stopped) == 0) if pruner == "none" else (len(stopped) > 5)
    for told in stopped:
        kept = study.ledger.trial(told.number)
        assert kept.state.name == "PRUNED" and told.epochs == max(kept.intermediate_values)


def test_patience_stops_what_is_flat_at_best_plus_patience(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT.format(pruner="{name: patience, epochs: 3}")), tmp_path)
    study.recover()
    curves = {
        5: [0.1, 0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9],  # best at 2: epochs 3, 4, 5 are worse
        9: [0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.4],  # always in time
        4: [0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1],
    }
    for epochs, curve in curves.items():
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        assert run(study, spec, curve).epochs == epochs


def test_several_objectives_cannot_be_pruned(load: Load) -> None:
    text = TEXT.format(pruner="median")
    text += "objectives: [{metric: val/accuracy}, {metric: val/loss, mode: min}]\n"
    with pytest.raises(sweeps.SpecError, match="pruning needs a single objective"):
        load(text)
    twice = text.replace("{metric: val/loss, mode: min}", "{metric: val/accuracy}")
    with pytest.raises(sweeps.SpecError, match="objectives: wants every metric once"):
        load(twice)


@pytest.mark.parametrize(
    "pruner",
    [
        "{name: asha, min_epochs: 9}",
        "{name: sha, min_epochs: 3, factor: 2, early: 2}",
        "{name: hyperband, min_epochs: 20}",
    ],
)
def test_a_pruner_that_would_never_stop_a_trial_is_refused(load: Load, pruner: str) -> None:
    with pytest.raises(sweeps.SpecError, match=r"first rung before the last epoch, got \d+ of 9"):
        load(TEXT.format(pruner=pruner))


def test_a_decision_is_the_same_for_a_driver_that_comes_later(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT.format(pruner="{name: median, startup: 1}")), tmp_path)
    study.recover()
    good, bad = study.ask(), study.ask()
    assert isinstance(good, TrialSpec) and isinstance(bad, TrialSpec)
    run(study, good, rising(0.9))
    reports = [EpochReport(epoch=e, metrics={"val/accuracy": 0.1}) for e in (1, 2)]
    assert [study.report(bad.number, r) for r in reports] == [False, True]
    later = Study.open("p", tmp_path)  # killed before the trial was told: it replays
    later.recover()
    assert later.ask() == bad
    assert [later.report(bad.number, r) for r in reports] == [False, True]
