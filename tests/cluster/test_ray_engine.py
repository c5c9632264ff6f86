"""The engine contract on Ray Tune, and what only an engine of several processes can meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_contract import EngineContract, Run, Watcher, check_record, tiny

from cluster.driver import Settings, drive
from cluster.runtime import ray_running
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


def test_a_killed_worker_costs_its_trial_no_epoch(tmp_path: Path) -> None:
    """SIGKILL in step 6 = epoch 2: the trial goes on elsewhere from epoch 1."""
    marker = tmp_path / "killed"
    model = {"name": "lab.faulty", "fault": "kill_once", "marker": str(marker)}
    watcher = Watcher()
    run_on_ray(tiny(tmp_path, model=model), tmp_path, watcher)
    assert marker.exists()
    check_record(tmp_path, "tiny", trials=3)
    assert len(watcher.started) == 4, "one trial was started twice"
    assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
    assert any("lost its worker after epoch" in note for note in watcher.notes)


def test_a_trial_that_kills_its_workers_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    model = {"name": "lab.faulty", "fault": {"choice": ["none", "kill"]}, "at": 2}
    search = {"sampler": "grid", "trials": 2}
    resources = {"attempts": 1}
    spec = tiny(tmp_path, model=model, search=search, train={"lr": 0.01}, resources=resources)
    result = run_on_ray(spec, tmp_path, Watcher())
    by_fault = {t.params["model.fault"]: t for t in result.trials}
    assert by_fault["none"].state is TrialState.COMPLETED
    assert by_fault["kill"].state is TrialState.FAILED
    assert by_fault["kill"].error == "lost its worker or node 2 times in a row within one epoch"


def test_a_trial_that_outgrows_its_memory_fails_alone(tmp_path: Path) -> None:
    model = {"name": "lab.faulty", "fault": {"choice": ["none", "greedy"]}}
    search = {"sampler": "grid", "trials": 2}
    resources = {"memory_gb": 1.0}
    spec = tiny(tmp_path, model=model, search=search, train={"lr": 0.01}, resources=resources)
    result = run_on_ray(spec, tmp_path, Watcher())
    by_fault = {t.params["model.fault"]: t for t in result.trials}
    assert by_fault["none"].state is TrialState.COMPLETED
    assert "outgrew resources.memory_gb" in (by_fault["greedy"].error or "")


def test_the_same_error_three_times_in_a_row_stops_the_sweep(tmp_path: Path) -> None:
    model = {"name": "lab.faulty", "fault": "raise", "at": 1}
    spec = tiny(tmp_path, model=model, search={"trials": 20, "max_failures": 20})
    study = Study.create(spec, tmp_path)
    ended = drive(study, tmp_path, show=Watcher(), settings=Settings(track=False, test=False))
    assert ended.stopped is not None
    assert "3 trials in a row failed with the same error: ValueError: step 1" in ended.stopped
    assert len(ended.result.trials) <= 4


def test_a_reused_worker_serves_many_trials(tmp_path: Path) -> None:
    """Two trials at a time on two CPUs need two processes, however many trials there are."""
    spec = tiny(tmp_path, search={"trials": 6}, resources={"concurrent": 2})
    run_on_ray(spec, tmp_path, Watcher())
    pids = set()
    for number in range(6):
        line = (tmp_path / f"sweeps/tiny/trials/{number:04d}/attempts.jsonl").read_text()
        pids.add(line.split('"pid": ')[1].split(",")[0])
    assert len(pids) <= 2
