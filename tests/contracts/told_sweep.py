"""What happens in a small sweep, for those that watch one."""

from __future__ import annotations

from s4core.train.report import EpochReport
from sweeps.types import Objective, SweepEvents, SweepResult, TrialResult, TrialSpec, TrialState

KNOWN = SweepResult(name="demo", objective=Objective(), trials=())


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        sweep="demo",
        number=number,
        data={"name": "smnist"},
        model={"name": "s4d"},
        train={"epochs": 12},
        objective=Objective(),
        seed=0,
        params={"model.n_layers": 3, "train.lr": 0.00123456},
    )


def report(epoch: int, value: float, *, best: bool = True) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/accuracy": value, "epoch_s": 2.5}, best=best)


def play(events: SweepEvents) -> None:
    events.trial_started(spec(0))
    events.trial_reported(0, report(1, 0.5))
    events.trial_reported(0, report(2, 0.4, best=False))
    events.trial_started(spec(1))
    events.trial_ended(
        TrialResult(number=0, state=TrialState.STOPPED, value=0.5, best_epoch=1, epochs=2)
    )
    events.trial_ended(TrialResult(number=1, state=TrialState.FAILED, error="ValueError: no"))
