"""The contract of every sampler of the folder, and what each is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, TrialSpec, TrialState, catalog

Load = Callable[..., sweeps.SweepSpec]

CONDITIONAL = """
name: {name}
data: {{name: listops, train: 8}}
model:
  n_layers: {{int: [1, 3]}}
  choice:
    - {{name: s4d, dropout: {{choice: [0.0, 0.1]}}}}
    - {{name: s4d, init: {{choice: [lin, inv, legs]}}}}
train: {{lr: {lr}, weight_decay: {decay}}}
search: {{sampler: {sampler}, trials: {trials}, max_failures: 99}}
"""
CONTINUOUS = {"lr": "{log_uniform: [0.001, 0.1]}", "decay": "{uniform: [0.0, 0.2]}"}
COUNTABLE = {"lr": "{choice: [0.001, 0.01]}", "decay": "{choice: [0.0, 0.1]}"}


def ranges(sampler: str) -> dict[str, str]:
    return COUNTABLE if sampler == "brute_force" else CONTINUOUS


def value_of(spec: TrialSpec) -> float:
    """A smooth hill: best at lr 0.01, no decay, three layers."""
    lr = math.log10(spec.train["lr"]) + 2
    return 1 - lr * lr / 4 - spec.train["weight_decay"] + 0.1 * spec.model["n_layers"]


def play(study: Study, *, most: int, fail_every: int = 0) -> list[TrialSpec]:
    specs = []
    while len(specs) < most and isinstance(spec := study.ask(), TrialSpec):
        outcome = Outcome(study.spec.objectives)
        value = math.nan if fail_every and len(specs) % fail_every == 1 else value_of(spec)
        metrics = {"val/accuracy": value, "val/loss": 0.5 * spec.train["weight_decay"]}
        report = EpochReport(epoch=1, metrics=metrics, stopped_by="epochs")
        outcome.add(report)
        study.report(spec.number, report)
        study.tell(outcome.result(spec))
        specs.append(spec)
    return specs


@pytest.mark.parametrize("sampler", sorted({*catalog.names("samplers")} - {"pbt"}))
def test_proposals_are_new_points_of_the_space_and_a_new_driver_goes_on(
    load: Load, tmp_path: Path, sampler: str
) -> None:
    spec = load(CONDITIONAL.format(name="s", sampler=sampler, trials=16, **ranges(sampler)))
    first = Study.create(spec, tmp_path)
    first.recover()
    told = play(first, most=7, fail_every=3)
    second = Study.open("s", tmp_path)
    second.recover()
    told += play(second, most=100, fail_every=3)
    assert isinstance(second.ask(), Finished)
    results = second.result().trials
    assert sum(t.state is TrialState.COMPLETED for t in results) == 16
    assert len({repr(t.params) for t in told}) == len(told)
    for trial in told:
        config = {"data": trial.data, "model": trial.model, "train": trial.train}
        assert spec.space.at(spec.space.fit(config)).config == config


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "random", "qmc", "gp", "grid"])
def test_several_objectives_end_in_a_front(load: Load, tmp_path: Path, sampler: str) -> None:
    text = CONDITIONAL.format(name="s", sampler=sampler, trials=12, **CONTINUOUS)
    text += """
objectives:
  - {metric: val/accuracy, mode: max}
  - {metric: val/loss, mode: min}
"""
    study = Study.create(load(text), tmp_path)
    study.recover()
    play(study, most=100)
    result = study.result()
    front = result.front
    assert 1 <= len(front) < 12
    assert result.best in front
    for a in result.trials:
        for b in front:
            assert not (a.values[0] > b.values[0] and a.values[1] < b.values[1])


def test_tpe_finds_the_hill_sooner_than_chance(load: Load, tmp_path: Path) -> None:
    best = {}
    for sampler in ("tpe", "random"):
        values = []
        for seed in range(3):
            text = CONDITIONAL.format(
                name=f"{sampler}{seed}", sampler=sampler, trials=30, **CONTINUOUS
            )
            spec = load(text.replace("max_failures: 99", f"seed: {seed}"))
            study = Study.create(spec, tmp_path)
            study.recover()
            values.append(max(map(value_of, play(study, most=30))))
        best[sampler] = sum(values) / len(values)
    assert best["tpe"] > best["random"]


def test_a_grid_goes_through_all_points_in_order_and_ends(load: Load, tmp_path: Path) -> None:
    text = CONDITIONAL.format(name="s", sampler="grid", trials=99, **COUNTABLE)
    study = Study.create(load(text), tmp_path)
    study.recover()
    told = play(study, most=100)
    assert len(told) == 3 * 2 * 2 * 2 + 3 * 3 * 2 * 2
    assert study.ask() == Finished("all 60 points of the grid have been tried")
    lrs = [spec.train["lr"] for spec in told[:4]]
    assert lrs == [0.001, 0.001, 0.01, 0.01]  # the last range of the YAML turns fastest


@pytest.mark.parametrize(
    ("sampler", "ranges", "said"),
    [
        ("brute_force", CONTINUOUS, "train.lr: a continuous range; .* {name: grid, points: 5}"),
        ("{name: random, points: 5}", COUNTABLE, "unknown key 'points': there are none[.]$"),
        ("cmaes", COUNTABLE, "search.sampler: cmaes wants two or more numeric ranges"),
        ("{name: gp, startup: 0}", CONTINUOUS, "search.sampler.startup: need startup >= 1"),
    ],
)
def test_a_space_that_a_sampler_cannot_search_is_refused_when_read(
    load: Load, sampler: str, ranges: dict[str, str], said: str
) -> None:
    with pytest.raises(sweeps.SpecError, match=said):
        load(CONDITIONAL.format(name="s", sampler=sampler, trials=1, **ranges))
