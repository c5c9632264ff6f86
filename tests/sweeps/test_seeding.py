"""Before the sampler is asked: baselines, what another sweep has learnt, several seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, TrialResult, TrialSpec, TrialState, Waiting
from sweeps.budgets import Seconds

Load = Callable[..., sweeps.SweepSpec]

TEXT = """
name: one
data: {name: listops, train: 8}
model: {name: s4d, n_layers: {int: [1, 4]}, dropout: {normal: [0.2, 0.05]}}
train: {epochs: 2, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: tpe, trials: 5}
"""


def play(study: Study, value: Callable[[TrialSpec], float]) -> list[TrialResult]:
    study.recover()
    told = []
    while isinstance(spec := study.ask(), TrialSpec):
        outcome = Outcome(study.spec.objectives)
        report = EpochReport(epoch=1, metrics={"val/accuracy": value(spec)}, stopped_by="epochs")
        outcome.add(report)
        study.report(spec.number, report)
        told.append(study.tell(outcome.result(spec)))
    assert isinstance(spec, Finished)
    return told


def test_another_sweep_becomes_knowledge_but_no_trial_of_this_one(
    load: Load, tmp_path: Path
) -> None:
    play(Study.create(load(TEXT), tmp_path), lambda spec: spec.train["lr"])
    text = TEXT.replace("name: one", "name: two").replace("[1, 4]", "[1, 9]") + "from: one\n"
    study = Study.create(load(text), tmp_path)
    told = play(study, lambda spec: spec.train["lr"])
    assert len(told) == len(study.result().trials) == 5
    known = study.ledger.trials()[:5]
    assert [t.user_attrs["imported_from"] for t in known] == [f"one/{i}" for i in range(5)]
    assert all(t.state.name == "COMPLETE" and len(t.params) == 3 for t in known)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5.0, r"model.dropout: 5.0 is outside of 0.035\d* to 0.364\d*"),
        ("abc", "model.dropout: wants a number, got 'abc'"),
    ],
)
def test_a_normal_parameter_is_enqueued_within_its_quantiles(
    load: Load, tmp_path: Path, value: object, said: str
) -> None:
    study = Study.create(load(TEXT), tmp_path)
    with pytest.raises(sweeps.StudyError, match=said):
        study.enqueue({"model.dropout": value})
    study.enqueue({"model.dropout": 0.21})
    told = play(study, lambda spec: spec.train["lr"])
    assert told[0].params["model.dropout"] == pytest.approx(0.21)


def test_a_whole_number_is_enqueued_as_one_and_no_text_or_truth_for_it(
    load: Load, tmp_path: Path
) -> None:
    study = Study.create(load(TEXT), tmp_path)
    for value in ("2", True, 2.5, None):
        with pytest.raises(sweeps.StudyError, match=r"model.n_layers: .* is outside of 1 to 4."):
            study.enqueue({"model.n_layers": value})
    study.enqueue({"model.n_layers": 2.0})
    trial = study.ask()
    assert isinstance(trial, TrialSpec)
    assert repr(trial.model["n_layers"]) == "2"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from: one", "from: won", "from: no sweep 'won': choose from one. Did you mean 'one'?"),
        ("[0.001, 0.1]", "[1.0, 2.0]", "from: no finished trial of 'one' lies in this space."),
        ("seed: 0", "objective: {metric: val/loss, mode: min}", "'one' has another objective."),
    ],
)
def test_knowledge_that_does_not_fit_is_refused(
    load: Load, tmp_path: Path, old: str, new: str, said: str
) -> None:
    play(Study.create(load(TEXT), tmp_path), lambda spec: 0.5)
    text = TEXT.replace("name: one", "name: two") + "from: one\nseed: 0\n"
    with pytest.raises(sweeps.StudyError) as caught:
        Study.create(load(text.replace(old, new)), tmp_path)
    assert said in str(caught.value)
    assert not (tmp_path / "sweeps" / "two" / "spec.json").exists()


def test_each_configuration_runs_with_several_seeds_and_counts_by_their_mean(
    load: Load, tmp_path: Path
) -> None:
    study = Study.create(load(TEXT + "repeat: {seeds: 3}\n"), tmp_path)
    play(study, lambda spec: spec.model["n_layers"] / 10 + spec.seed / 100)
    result = study.result()
    leaders = [t for t in result.trials if t.replicate_of is None]
    assert len(leaders) == 5 and len(result.trials) == 15
    for leader in leaders:
        layers = leader.params["model.n_layers"]
        assert leader.repeats == pytest.approx(
            [layers / 10, layers / 10 + 0.01, layers / 10 + 0.02]
        )
        assert leader.value == pytest.approx(layers / 10 + 0.01)
        assert leader.spread == pytest.approx(0.01)
        followers = [t for t in result.trials if t.replicate_of == leader.number]
        assert {study.trial_spec(t.number).seed for t in followers} == {1, 2}
        assert {study.trial_spec(t.number).replicate_of for t in followers} == {leader.number}
        assert all(t.params == leader.params for t in followers)
    assert result.best in leaders  # no lucky seed
    optuna_values = [t.value for t in study.ledger.trials() if t.state.name == "COMPLETE"]
    assert sorted(optuna_values) == sorted(t.value for t in leaders)  # type: ignore[type-var]


def test_a_continued_configuration_counts_by_its_new_result_and_its_other_seeds(
    load: Load, tmp_path: Path
) -> None:
    study = Study.create(load(TEXT + "repeat: {seeds: 2}\n"), tmp_path)
    play(study, lambda spec: 0.5 if spec.seed else 0.6)
    study.reopen(0, epochs=2)
    (told,) = play(study, lambda spec: 0.9)
    assert (told.number, told.repeats) == (0, (0.9, 0.5))
    assert study.result().trials[0].value == pytest.approx(0.7)


def test_a_configuration_is_not_continued_before_its_seeds_have_run(
    load: Load, tmp_path: Path
) -> None:
    study = Study.create(load(TEXT + "repeat: {seeds: 2}\n"), tmp_path)
    study.recover()
    asked = study.ask()
    assert isinstance(asked, TrialSpec)
    outcome = Outcome(study.spec.objectives)
    outcome.add(EpochReport(epoch=1, metrics={"val/accuracy": 0.5}, stopped_by="epochs"))
    study.tell(outcome.result(asked))
    with pytest.raises(sweeps.StudyError, match="trial 0 waits for its other seeds"):
        study.reopen(0, epochs=9)


def test_a_driver_killed_among_the_seeds_of_a_configuration(load: Load, tmp_path: Path) -> None:
    spec = load(TEXT.replace("trials: 5", "trials: 1") + "repeat: {seeds: 3}\n")
    first = Study.create(spec, tmp_path)
    first.recover()
    for _ in range(2):  # the leader and one follower, then the driver is gone
        asked = first.ask()
        assert isinstance(asked, TrialSpec)
        outcome = Outcome(spec.objectives)
        report = EpochReport(epoch=1, metrics={"val/accuracy": 0.5}, stopped_by="epochs")
        outcome.add(report)
        first.tell(outcome.result(asked))
    second = Study.open("one", tmp_path)
    told = play(second, lambda spec: 0.8)
    assert len(told) == 1
    best = second.best()
    assert best is not None and best.repeats == (0.5, 0.5, 0.8) and best.value == pytest.approx(0.6)


def test_pruned_and_failed_configurations_are_not_repeated(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT + "repeat: {seeds: 2}\n"), tmp_path)
    study.recover()
    asked = study.ask()
    assert isinstance(asked, TrialSpec)
    study.tell(Outcome(study.spec.objectives).result(asked, error="ValueError: no"))
    again = study.ask()
    assert isinstance(again, TrialSpec) and again.params != asked.params
    assert study.result().trials[0].state is TrialState.FAILED


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("no_improvement: 2", "no improvement in 2 trials"),
        ("gpu_hours: 0.001", "0.001 GPU hours"),
        ("wall_hours: 0.0000001", "1e-07 hours"),
    ],
)
def test_a_budget_ends_the_sweep(load: Load, tmp_path: Path, extra: str, reason: str) -> None:
    text = TEXT.replace("trials: 5", f"trials: 50, {extra}") + "resources: {gpus: 1}\n"
    study = Study.create(load(text), tmp_path)
    study.recover()
    for i in range(50):
        asked = study.ask()
        if isinstance(asked, Finished):
            break
        assert isinstance(asked, TrialSpec)
        outcome = Outcome(study.spec.objectives)
        metrics = {"val/accuracy": 0.5 - i / 100, "epoch_s": 2.0}
        outcome.add(EpochReport(epoch=1, metrics=metrics, stopped_by="epochs"))
        study.tell(outcome.result(asked))
    assert asked == Finished(reason)
    assert i in (0, 2, 3)


def test_with_several_objectives_a_trial_that_joins_the_front_is_an_improvement(
    load: Load, tmp_path: Path
) -> None:
    both = "objectives: [{metric: val/accuracy, mode: max}, {metric: val/loss, mode: min}]\n"
    text = TEXT.replace("trials: 5", "trials: 50, no_improvement: 2") + both
    study = Study.create(load(text), tmp_path)
    study.recover()
    told = [(0.5, 0.5), (0.4, 0.6), (0.4, 0.4), (0.5, 0.5), (0.3, 0.4), (0.9, 0.1)]
    for accuracy, loss in told:
        asked = study.ask()
        if isinstance(asked, Finished):
            break
        assert isinstance(asked, TrialSpec)
        outcome = Outcome(study.spec.objectives)
        metrics = {"val/accuracy": accuracy, "val/loss": loss}
        outcome.add(EpochReport(epoch=1, metrics=metrics, stopped_by="epochs"))
        study.tell(outcome.result(asked))
    assert asked == Finished("no improvement in 2 trials")
    assert [t.number for t in study.result().front] == [0, 3, 2]


def test_a_budget_of_hours_keeps_what_was_enqueued_from_starting(
    load: Load, tmp_path: Path
) -> None:
    text = TEXT.replace("trials: 5", "trials: 50, wall_hours: 0.0000001")
    study = Study.create(load(text), tmp_path)
    study.enqueue({"train.lr": 0.01})
    study.recover()
    assert study.ask() == Finished("1e-07 hours")


def test_a_budget_of_hours_also_stops_what_runs(load: Load, tmp_path: Path) -> None:
    """0.001 GPU hours are 3.6 s: two trials of 1 s epochs may do four epochs between them."""
    text = TEXT.replace("trials: 5", "trials: 50, gpu_hours: 0.001") + "resources: {gpus: 1}\n"
    study = Study.create(load(text), tmp_path)
    study.recover()
    first, second = study.ask(), study.ask()
    assert isinstance(first, TrialSpec) and isinstance(second, TrialSpec)
    stopped = []
    for epoch in (1, 2):
        for spec in (first, second):
            metrics = {"val/accuracy": 0.5, "epoch_s": 1.0}
            stopped.append(study.report(spec.number, EpochReport(epoch=epoch, metrics=metrics)))
            again = study.report(spec.number, EpochReport(epoch=epoch, metrics=metrics))
            assert again == stopped[-1], "an epoch that is said again is not paid again"
    assert stopped == [False, False, False, True]
    assert study.ask() == Waiting("0.001 GPU hours; 2 still running")
    outcome = Outcome(study.spec.objectives)
    for epoch in (1, 2):
        outcome.add(EpochReport(epoch=epoch, metrics={"val/accuracy": 0.5, "epoch_s": 1.0}))
    told = study.tell(outcome.result(second, pruned=True))
    assert (told.state, told.value) == (TrialState.CUT, 0.5), "nobody pruned it"


def test_seconds_are_a_kept_sum() -> None:
    """A trial counts by its epochs, each once, and from its end on by its result."""
    known = TrialResult(number=0, state=TrialState.COMPLETED, seconds=10.0)
    seconds = Seconds([known])
    for number, epoch, spent in ((1, 1, 2.0), (1, 2, 3.0), (2, 1, 4.0), (1, 1, 2.5)):
        seconds.report(number, epoch, spent)
    assert seconds.total == 19.5
    seconds.end(TrialResult(number=1, state=TrialState.PRUNED, seconds=6.0))
    assert seconds.total == 20.0
