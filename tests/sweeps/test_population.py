"""Population based training: who takes over whom, and what a killed driver leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sweeps
from s4core.train.report import EpochReport
from sweeps import (
    Finished,
    Outcome,
    Study,
    StudyError,
    TrialResult,
    TrialSpec,
    TrialState,
    population,
)
from sweeps.ledger import Ledger
from sweeps.rerun import rerun_yaml
from sweeps.trial import read_metrics

Load = Callable[..., sweeps.SweepSpec]

TEXT = """
name: pbt
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train:
  epochs: 6
  batch_size: 16
  lr: {log_uniform: [0.001, 0.1]}
  weight_decay: {choice: [0.0, 0.01, 0.05]}
search: {sampler: {name: pbt, interval: 2}, trials: 4}
"""


def run(study: Study, spec: TrialSpec, value: float, error: str | None = None) -> TrialResult:
    """Play a generation: the curve so far, and a file in place of a checkpoint."""
    outcome = Outcome(study.spec.objectives)
    folder = study.trial_folder(spec.number)
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(1, spec.train["epochs"] + 1):
        last = "epochs" if epoch == spec.train["epochs"] else None
        report = EpochReport(epoch=epoch, metrics={"val/accuracy": value}, stopped_by=last)
        outcome.add(report)
        study.report(spec.number, report)
    for name in population.CHECKPOINTS:
        (folder / name).write_text(f"{spec.number} after {spec.train['epochs']}")
    return study.tell(outcome.result(spec, error=error))


def test_who_takes_over_varies_settings_within_where(load: Load, tmp_path: Path) -> None:
    """Each generation would multiply the highest rate by three: without bounds up to 0.1."""
    text = TEXT.replace("interval: 2", "interval: 1, quantile: 0.5, resample: 0.0, factor: 3.0")
    spec = load(text + 'where: ["train.lr < 0.01", "train.lr * 10 > train.weight_decay"]\n')
    study = Study.create(spec, tmp_path)
    study.recover()
    varied = 0
    while not isinstance(member := study.ask(), Finished):
        assert isinstance(member, TrialSpec)
        varied += member.taken_over is not None
        lr, decay = member.train["lr"], member.train["weight_decay"]
        assert lr < 0.01 and lr * 10 > decay
        run(study, member, value=lr)
    assert varied >= 5


def test_the_worst_takes_over_the_best_with_varied_settings(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    specs = [study.ask() for _ in range(4)]
    assert all(isinstance(s, TrialSpec) and s.train["epochs"] == 2 for s in specs)
    assert all(s.train["schedule_epochs"] == 6 for s in specs if isinstance(s, TrialSpec))
    for i, spec in enumerate(specs):
        assert isinstance(spec, TrialSpec)
        assert isinstance(study.ask(), sweeps.Waiting)  # a generation waits for all
        assert run(study, spec, value=i / 10).state is TrialState.WAITING
    again = [study.ask() for _ in range(4)]
    assert all(isinstance(s, TrialSpec) and s.train["epochs"] == 4 for s in again)
    worst, best = again[0], specs[3]
    assert isinstance(worst, TrialSpec) and isinstance(best, TrialSpec)
    assert (study.trial_folder(0) / "last.pt").read_text() == "3 after 2"
    assert worst.train["lr"] != best.train["lr"] or worst.params != best.params
    assert 0.001 <= worst.train["lr"] <= 0.1
    middle = again[1]
    assert isinstance(middle, TrialSpec) and isinstance(specs[1], TrialSpec)
    assert middle.train["lr"] == specs[1].train["lr"]
    lineage = study.ledger.trial(0).user_attrs["lineage"]
    assert [(m["generation"], m["from"]) for m in lineage] == [(1, 3)]
    assert [s.taken_over for s in again if isinstance(s, TrialSpec)] == [3, None, None, None]
    for i, spec in enumerate(again):
        assert isinstance(spec, TrialSpec)
        run(study, spec, value=i / 10)
    for _ in range(4):
        spec = study.ask()
        assert isinstance(spec, TrialSpec) and spec.train["epochs"] == 6
        assert spec.taken_over is None or spec.number == 0
        assert run(study, spec, value=0.5).state is TrialState.COMPLETED
    assert isinstance(study.ask(), Finished)
    assert [t.epochs for t in study.result().trials] == [6, 6, 6, 6]
    study.reopen(2, epochs=8)
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    assert (spec.number, spec.train["epochs"]) == (2, 8)
    assert run(study, spec, value=0.6).value == 0.6
    assert isinstance(study.ask(), Finished)


def killed_while_it_asks(
    study: Study, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> Study:
    """Ask, and be killed as the function is called for the second time; the sweep opened again."""
    function, calls = getattr(owner, name), []

    def killed(*args: object) -> object:
        if calls:
            raise KeyboardInterrupt
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        study.ask()
    monkeypatch.undo()
    again = Study.open(study.spec.name, study.home)
    again.recover()
    return again


def test_a_driver_killed_while_checkpoints_are_exchanged(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace("interval: 2", "interval: 2, quantile: 0.5")
    first = Study.create(load(text), tmp_path)
    first.recover()
    for i, spec in enumerate([first.ask() for _ in range(4)]):
        assert isinstance(spec, TrialSpec)
        run(first, spec, value=i / 10)
    second = killed_while_it_asks(first, monkeypatch, population, "copy_checkpoints")
    specs = [second.ask() for _ in range(4)]
    assert sorted(s.number for s in specs if isinstance(s, TrialSpec)) == [0, 1, 2, 3]
    decided = second.ledger.attrs()["generation:1"]
    assert decided["done"] and set(decided["moves"]) == {"0", "1"}
    for loser in (0, 1):
        donor = decided["moves"][str(loser)]["from"]
        assert donor in (2, 3)
        assert (second.trial_folder(loser) / "last.pt").read_text() == f"{donor} after 2"


def test_a_member_that_fails_takes_over_a_sound_one(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    for i, spec in enumerate([study.ask() for _ in range(4)]):
        assert isinstance(spec, TrialSpec)
        error = "Diverged: loss is nan" if i in (1, 2) else None
        run(study, spec, value=0.9 if error else 0.1 * i, error=error)
    study.ask()
    moves = study.ledger.attrs()["generation:1"]["moves"]
    assert {n: m["from"] for n, m in moves.items()} == {"1": 3, "2": 3}


def test_when_all_members_fail_the_sweep_says_so_and_ends(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    for spec in [study.ask() for _ in range(4)]:
        assert isinstance(spec, TrialSpec)
        run(study, spec, value=0.5, error="ValueError: no")
    study.ask()
    results = study.result().trials[:4]
    assert [(t.state, t.error) for t in results] == [(TrialState.FAILED, "ValueError: no")] * 4


def test_a_driver_killed_while_the_members_end_leaves_a_sweep_that_goes_on(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    for spec in [study.ask() for _ in range(4)]:
        assert isinstance(spec, TrialSpec)
        run(study, spec, value=0.5, error="ValueError: no")
    second = killed_while_it_asks(study, monkeypatch, Ledger, "set_trial")
    fresh = second.ask()  # in place of the one whose end was written
    assert isinstance(fresh, TrialSpec) and fresh.number == 4
    run(second, fresh, value=0.5)
    again = second.ask()
    assert isinstance(again, TrialSpec) and (again.number, again.train["epochs"]) == (4, 4)
    assert [t.state for t in second.result().trials[:4]] == [TrialState.FAILED] * 4


def test_members_that_an_extension_adds_take_over_one_another(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    while isinstance(spec := study.ask(), TrialSpec):
        run(study, spec, value=spec.number / 10)
    study.extend(4)
    while isinstance(spec := study.ask(), TrialSpec):
        run(study, spec, value=spec.number / 10)
    lineage = study.ledger.trial(4).user_attrs["lineage"]
    assert [(m["generation"], m["from"]) for m in lineage] == [(1, 7), (2, 7)]
    first = study.ledger.trial(0).user_attrs["lineage"]
    assert [(m["generation"], m["from"]) for m in first] == [(1, 3), (2, 3)]


def test_a_preset_of_another_model_is_no_member(load: Load, tmp_path: Path) -> None:
    study = Study.create(load(TEXT), tmp_path)
    with pytest.raises(StudyError, match="lra/listops/s4d-lin: no point of this space"):
        study.enqueue_preset("lra/listops/s4d-lin")


def test_a_population_trains_for_real(load: Load, tmp_path: Path) -> None:
    text = TEXT.replace("epochs: 6", "epochs: 3\n  patience: 1")
    spec = load(text.replace("interval: 2", "interval: 1"))
    result = sweeps.run_inline(spec, tmp_path)
    assert [(t.state, t.epochs) for t in result.trials] == [(TrialState.COMPLETED, 3)] * 4
    study = Study.open("pbt", tmp_path)
    moved = [t for t in study.ledger.trials() if "lineage" in t.user_attrs]
    assert moved
    for trial in moved:
        state = torch.load(study.trial_folder(trial.number) / "last.pt", weights_only=True)
        assert len(state["reports"]) == 3
        lines = read_metrics(study.trial_folder(trial.number))
        assert [line["epoch"] for line in lines] == [1, 2, 3]
        again = rerun_yaml(study, trial.number)
        donors = ", ".join(str(move["from"]) for move in trial.user_attrs["lineage"])
        assert again.splitlines()[0].endswith(f"its weights it took over from trial {donors}.")
        assert load(again).train["patience"] is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n_layers: 1", "n_layers: {choice: [1, 2]}", "pbt varies settings of train only"),
        ("epochs: 6", "epochs: {int: [5, 6]}", "pbt wants the same epochs and batch_size"),
        ("interval: 2", "interval: 0", "need interval >= 1, got 0."),
        ("interval: 2", "interval: 6", "search.sampler: pbt wants interval < epochs, got 6"),
        ("trials: 4", "trials: 4, pruner: asha", "search.pruner: pbt moves .* use pruner: none"),
        ("name: pbt\n", "name: pbt\nrepeat: {seeds: 2}\n", "repeat: pbt .* nothing to repeat"),
    ],
)
def test_what_pbt_cannot_vary_is_refused(load: Load, old: str, new: str, said: str) -> None:
    with pytest.raises(sweeps.SpecError, match=said):
        load(TEXT.replace(old, new))
