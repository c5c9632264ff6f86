"""The engine contract on Ray Tune, and what only an engine of several processes can meet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_contract import EngineContract, Run, Watcher, check_record, tiny
from fused_contract import MODEL, FusedContract, crowded, crowds

from cluster.driver import Settings, drive
from cluster.runtime import ray_running
from s4core.train.checkpoint import read_last
from sweeps import Study, SweepSpec, sweep_names
from sweeps.types import SweepResult, TrialState

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    """One Ray of two CPUs for the whole module."""
    with ray_running(None, cpus=2):
        yield


def run_on_ray(spec: SweepSpec, home: Path, watcher: Watcher) -> SweepResult:
    exists = spec.name in sweep_names(home)
    study = Study.open(spec.name, home) if exists else Study.create(spec, home)
    settings = Settings(track=False, test=False)
    return drive(study, home, show=watcher, settings=settings).result


class TestRay(EngineContract):
    @pytest.fixture
    def run(self) -> Run:
        return run_on_ray

    @pytest.mark.slow  # the same error three times in a row goes the same way
    def test_too_many_failures_end_the_sweep(self, run: Run, tmp_path: Path) -> None:
        super().test_too_many_failures_end_the_sweep(run, tmp_path)


@pytest.mark.slow
class TestRayFused(FusedContract):
    @pytest.fixture
    def run(self) -> Run:
        return run_on_ray


def test_a_crew_that_loses_its_worker_goes_on_as_one(tmp_path: Path) -> None:
    """SIGKILL in the validation of epoch 2: no epoch is lost, and none is said twice."""
    about = {"name": "lab.striking", "fault": "kill_once", "marker": str(tmp_path / "killed")}
    model = {**MODEL, **about, "at": 2, "dropout": {"choice": [0.0, 0.5, 0.1]}}
    search = {"sampler": "grid", "trials": 3}
    watcher = Watcher()
    spec = crowded(tmp_path, model=model, search=search, train={"lr": 0.01})
    run_on_ray(spec, tmp_path, watcher)
    assert (tmp_path / "killed").exists()
    check_record(tmp_path, "tiny", trials=3)
    assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
    assert {tuple(crowds(tmp_path, n)) for n in range(3)} == {(3, 3)}
    lost = [note for note in watcher.notes if "lost its worker after epoch 1 and" in note]
    assert len(lost) == 3


@pytest.mark.slow
def test_who_kills_his_crew_again_and_again_is_found_alone(tmp_path: Path) -> None:
    dropout = {"choice": [0.0, 0.5, 0.1]}
    model = {**MODEL, "name": "lab.striking", "fault": "kill", "dropout": dropout}
    blocks = {"search": {"sampler": "grid", "trials": 3}, "train": {"lr": 0.01}}
    spec = crowded(tmp_path, model=model, resources={"attempts": 1}, **blocks)
    run_on_ray(spec, tmp_path, Watcher())
    trials = check_record(tmp_path, "tiny", trials=2).trials
    (failed,) = (t for t in trials if t.state is TrialState.FAILED)
    assert failed.lost and failed.params["model.dropout"] == 0.5
    assert {tuple(crowds(tmp_path, t.number)) for t in trials if t is not failed} == {(3, 3, 1)}


def test_a_killed_worker_costs_its_trial_no_epoch(tmp_path: Path) -> None:
    """SIGKILL in step 6 = epoch 2: the trial goes on in another process from epoch 1.

    The process is kept for the trials after it, so that three trials have two in all.
    """
    marker = tmp_path / "killed"
    model = {"name": "lab.faulty", "fault": "kill_once", "marker": str(marker)}
    watcher = Watcher()
    run_on_ray(tiny(tmp_path, model=model), tmp_path, watcher)
    assert marker.exists()
    check_record(tmp_path, "tiny", trials=3)
    assert len(watcher.started) == 4, "one trial was started twice"
    assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
    assert any("lost its worker after epoch" in note for note in watcher.notes)
    starts = [
        json.loads(line)
        for path in tmp_path.glob("sweeps/tiny/trials/*/attempts.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len({start["pid"] for start in starts}) == 2


def test_a_trial_that_kills_its_workers_or_outgrows_its_memory_ends_alone(tmp_path: Path) -> None:
    """The first is given up after its losses, the second fails by its guard; the third goes on."""
    model = {"name": "lab.faulty", "fault": {"choice": ["kill", "greedy", "none"]}, "at": 2}
    search = {"sampler": "grid", "trials": 3, "max_failures": 1}
    resources = {"attempts": 1, "memory_gb": 1.0}
    spec = tiny(tmp_path, model=model, search=search, train={"lr": 0.01}, resources=resources)
    result = run_on_ray(spec, tmp_path, Watcher())
    by_fault = {t.params["model.fault"]: t for t in result.trials}
    assert by_fault["none"].state is TrialState.COMPLETED
    assert by_fault["kill"].state is TrialState.FAILED
    assert by_fault["kill"].error == "lost its worker or node 2 times in a row within one epoch"
    assert "outgrew resources.memory_gb" in (by_fault["greedy"].error or "")


def test_the_same_error_three_times_in_a_row_stops_the_sweep(tmp_path: Path) -> None:
    model = {"name": "lab.faulty", "fault": "raise", "at": 1}
    spec = tiny(tmp_path, model=model, search={"trials": 20, "max_failures": 20})
    study = Study.create(spec, tmp_path)
    ended = drive(study, tmp_path, show=Watcher(), settings=Settings(track=False, test=False))
    assert ended.stopped is not None
    assert "3 trials in a row failed with the same error: ValueError: step 1" in ended.stopped
    assert len(ended.result.trials) <= 4


@pytest.mark.slow
def test_a_population_exchanges_its_checkpoints(tmp_path: Path) -> None:
    """Three members of three generations, of which the worst takes over the best each time."""
    spec = tiny(
        tmp_path,
        model={"name": "s4d", "d_model": 8, "n_layers": 1},
        search={"sampler": {"name": "pbt", "interval": 1}},
        resources={"concurrent": 2},
    )
    watcher = Watcher()
    result = run_on_ray(spec, tmp_path, watcher)
    assert [(t.state, t.epochs) for t in result.trials] == [(TrialState.COMPLETED, 3)] * 3
    assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
    assert sorted(watcher.started) == sorted([0, 1, 2] * 3), "once a generation"
    study = Study.open("tiny", tmp_path)
    moves = [
        (move["generation"], trial.number, move["from"])
        for trial in study.ledger.trials()
        for move in trial.user_attrs.get("lineage", [])
    ]
    assert sorted(generation for generation, _, _ in moves) == [1, 2]
    generation, loser, donor = max(moves)
    mine, theirs = _losses(study, loser), _losses(study, donor)
    assert mine[:generation] == theirs[:generation], "the state is the donor's"
    assert mine[generation:] != theirs[generation:], "the settings are not"


def _losses(study: Study, number: int) -> list[float]:
    """The losses that a trial's checkpoint remembers; a taken one brings those of its donor."""
    state = read_last(study.trial_folder(number))
    assert state is not None
    return [epoch["train/loss"] for epoch in state["reports"]]
