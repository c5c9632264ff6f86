"""The contract of every sampler of the folder, and what each is for."""

from __future__ import annotations

import itertools
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


@pytest.mark.parametrize("scramble", ["true", "false"])
def test_a_new_driver_goes_on_with_the_sequence(load: Load, tmp_path: Path, scramble: str) -> None:
    """Points of two scrambled sequences fill a space no more evenly than chance."""
    sampler = f"{{name: qmc, scramble: {scramble}}}"
    drawn = []
    for name in ("whole", "resumed"):
        text = CONDITIONAL.format(name=name, sampler=sampler, trials=8, **CONTINUOUS)
        study = Study.create(load(text), tmp_path)
        specs = play(study, most=4)
        study = Study.open(name, tmp_path) if name == "resumed" else study
        drawn.append([spec.train["lr"] for spec in specs + play(study, most=4)])
    assert drawn[0] == drawn[1]


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


GRID = """
name: s
data: {{name: listops, train: 8, val: 8, test: 8}}
model: {{name: s4d, n_layers: {{choice: [1, 2]}}}}
train: {{weight_decay: {{uniform: [0.0, 0.2]}}, lr: {{log_uniform: [0.001, 0.1]}}}}
search: {{sampler: {{name: grid, points: {points}}}, trials: 99}}
"""


@pytest.mark.parametrize("given", [{"model.n_layers": 2}, {"model.n_layers": 2, "train.lr": 0.05}])
def test_what_is_enqueued_takes_no_other_point_of_the_grid_away(
    load: Load, tmp_path: Path, given: dict[str, float]
) -> None:
    study = Study.create(load(GRID.format(points=2)), tmp_path)
    study.enqueue(given)
    study.recover()
    told = [tuple(spec.params.values()) for spec in play(study, most=100)]
    assert told[0][0] == 2
    points = itertools.product([1, 2], [0.0, 0.2], [0.001, 0.1])
    assert set(points) == (set(told[1:]) if "train.lr" in given else set(told))


def test_a_grid_of_which_much_is_forbidden_keeps_to_its_points(load: Load, tmp_path: Path) -> None:
    text = GRID.format(points=20) + 'where: ["train.weight_decay < 0.02"]\n'
    study = Study.create(load(text), tmp_path)
    study.recover()
    told = play(study, most=100)
    assert sorted({spec.train["weight_decay"] for spec in told}) == pytest.approx([0, 0.2 / 19])
    assert len(told) == 2 * 2 * 20


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


def test_cmaes_wants_numbers_that_no_block_lacks(load: Load) -> None:
    ranges = {"lr": CONTINUOUS["lr"], "decay": "0.1"}
    text = CONDITIONAL.format(name="s", sampler="cmaes", trials=1, **ranges)
    load(text)
    blocks = text.replace("n_layers: {int: [1, 3]}", "n_layers: 1")
    blocks = blocks.replace("{choice: [0.0, 0.1]}", "{uniform: [0.0, 0.1]}")
    with pytest.raises(sweeps.SpecError, match="numeric ranges that all trials have, got 1"):
        load(blocks)
