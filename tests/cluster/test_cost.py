"""What a sweep cost and spared, and what a driver writes down of where it ran."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.capture import capture, differences
from cluster.cost import Cost
from cluster.data import NodeReport
from cluster.placement import Placement
from sweeps.types import Objective, SweepResult, TrialResult, TrialState


def test_hours_are_added_up_and_what_was_not_run_is_spared() -> None:
    def trial(number: int, state: TrialState, epochs: int) -> TrialResult:
        return TrialResult(number=number, state=state, epochs=epochs, seconds=900.0 * epochs)

    trials = (
        trial(0, TrialState.COMPLETED, 8),  # 2 h
        trial(1, TrialState.PRUNED, 2),  # 0.5 h, 6 epochs or 1.5 h spared
        trial(2, TrialState.STOPPED, 4),  # 1 h, 1 h spared
        trial(3, TrialState.FAILED, 2),  # 0.5 h
    )
    result = SweepResult(name="x", objective=Objective(), trials=trials)
    cost = Cost.of(result, Placement(cpus=4, gpus=0.5, workers=2), lambda number: 8)
    assert cost == Cost(
        trial_hours=4.0, cpu_hours=32.0, gpu_hours=4.0, pruning_saved=1.5, patience_saved=1.0
    )
    assert cost.line() == "cost: 4.00 GPU hours, pruning spared 1.50, patience spared 1.00"


@pytest.fixture
def node() -> NodeReport:
    return NodeReport(
        address="10.0.0.1",
        versions={"torch": "2.13.0"},
        code="abc",
        gpus=["NVIDIA H100, 570.1, 81559 MiB"],
        data={"listops": "f00d"},
    )


def test_each_driver_leaves_its_environment(tmp_path: Path, node: NodeReport) -> None:
    paths = [capture(tmp_path, [node], argv=["s4sweep", "run", "a b.yaml"]) for _ in range(2)]
    assert [p.name for p in paths] == ["001.json", "002.json"]
    about = json.loads(paths[0].read_text())
    assert about["command"] == "s4sweep run 'a b.yaml'"
    assert about["packages"]["torch"] and about["packages"]["ray"]
    assert about["nodes"] == [vars(node)]
    patched = [p.stem for p in paths[0].parent.glob("*.patch")]
    assert patched == (["001", "002"] if str(about["git_commit"]).endswith("-dirty") else [])


def test_nodes_that_differ_are_named(node: NodeReport) -> None:
    other = NodeReport(
        address="10.0.0.2", versions={"torch": "2.12.0"}, code="abc", gpus=[], data={}
    )
    (line,) = differences([node, other])
    assert line.startswith("the nodes differ in torch: 2.13.0 on 10.0.0.1, 2.12.0 on 10.0.0.2")
    assert differences([node, node]) == []
