"""Trials that several processes train together (gloo on CPU), in one placement group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_contract import Watcher, check_record, tiny

from cluster.driver import Settings, drive
from cluster.errors import UserError
from cluster.placement import Placement, check_feasible, placement_of
from cluster.runtime import ray_running
from sweeps import Study
from sweeps.types import TrialState

pytestmark = [pytest.mark.ray]


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    with ray_running(None, cpus=2):
        yield


def test_two_processes_train_a_trial_and_outlive_the_loss_of_one(tmp_path: Path) -> None:
    """One of the two is killed in epoch 2; both start again and go on behind epoch 1."""
    marker = tmp_path / "killed"
    model = {"name": "lab.faulty", "fault": "kill_once", "at": 3, "marker": str(marker)}
    spec = tiny(tmp_path, model=model, search={"trials": 2}, resources={"workers": 2})
    watcher = Watcher()
    settings = Settings(track=False, test=False)
    result = drive(Study.create(spec, tmp_path), tmp_path, show=watcher, settings=settings).result
    assert marker.exists()
    check_record(tmp_path, "tiny", trials=2)
    assert {t.state for t in result.trials} == {TrialState.COMPLETED}
    assert watcher.epochs == {0: [1, 2, 3], 1: [1, 2, 3]}
    assert watcher.started in ([0, 0, 1], [0, 1, 1])
    attempts = (tmp_path / "sweeps/tiny/trials/0001/attempts.jsonl").read_text()
    assert attempts.count("\n") == 1, "rank 1 writes nothing"


@pytest.mark.slow
def test_an_error_of_all_ranks_is_the_trials_own(tmp_path: Path) -> None:
    model = {"name": "lab.faulty", "fault": "raise", "at": 1}
    search = {"trials": 1, "max_failures": 0}
    spec = tiny(tmp_path, model=model, search=search, resources={"workers": 2})
    settings = Settings(track=False, test=False)
    result = drive(Study.create(spec, tmp_path), tmp_path, show=Watcher(), settings=settings).result
    assert [t.state for t in result.trials] == [TrialState.FAILED]
    assert "ValueError: step 1 is bad" in (result.trials[0].error or "")


class TestPlacement:
    def test_several_gpus_for_one_worker_are_one_worker_each(self, tmp_path: Path) -> None:
        spec = tiny(tmp_path, resources={"gpus": 4, "cpus": 8, "memory_gb": 16.0})
        assert placement_of(spec) == Placement(cpus=2, gpus=1, memory_gb=4.0, workers=4)

    def test_what_no_node_holds_is_refused_with_its_name(self) -> None:
        wanted = Placement(gpus=2, custom={"fpga": 1}, memory_gb=1e6)
        with pytest.raises(UserError) as refused:
            check_feasible(wanted)
        text = str(refused.value)
        assert "resources.gpus: 2 (a node has 0)" in text
        assert "resources.custom.fpga: 1 (a node has 0)" in text
        assert "resources.memory_gb: 1e+06 (a node has" in text
        assert "cpus" not in text

    def test_more_workers_than_fit_are_refused(self) -> None:
        with pytest.raises(UserError, match="3 are asked for and 2 fit into 1 node"):
            check_feasible(Placement(workers=3))
        check_feasible(Placement(workers=2))
