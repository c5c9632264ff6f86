"""What a sweep cost and spared."""

from __future__ import annotations

import dataclasses

from cluster.cost import Cost
from cluster.placement import Placement
from sweeps.types import Objective, SweepResult, TrialResult, TrialState


def test_hours_are_added_up_and_what_was_not_run_is_spared() -> None:
    def trial(number: int, state: TrialState, epochs: int) -> TrialResult:
        return TrialResult(
            number=number, state=state, epochs=epochs, seconds=900.0 * epochs, spared=450.0 * epochs
        )

    trials = (
        trial(0, TrialState.COMPLETED, 8),  # 2 h
        trial(1, TrialState.PRUNED, 2),  # 0.5 h, 6 epochs or 1.5 h spared
        trial(2, TrialState.STOPPED, 4),  # 1 h, 1 h spared
        trial(3, TrialState.FAILED, 2),  # 0.5 h
    )
    result = SweepResult(name="x", objective=Objective(), trials=trials)
    cost = Cost.of(result, Placement(cpus=4, gpus=0.5, workers=2), lambda number: 8)
    assert cost == Cost(
        trial_hours=4.0,
        cpu_hours=32.0,
        gpu_hours=4.0,
        pruning_saved=1.5,
        patience_saved=1.0,
        fusing_saved=2.0,
    )
    assert cost.line() == (
        "cost: 4.00 GPU hours, pruning spared 1.50, patience spared 1.00, fusing spared 2.00"
    )
    slow = dataclasses.replace(cost, pruning_saved=0.0, patience_saved=0.0, fusing_saved=-0.5)
    assert slow.line() == "cost: 4.00 GPU hours, fusing lost 0.50"
