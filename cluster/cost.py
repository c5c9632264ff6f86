"""What a sweep has cost, and what stopping trials early and training several as one has saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cluster.placement import Placement
from sweeps.types import SweepResult, TrialState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Hours of training: of trials, of the CPUs and GPUs they held, and of epochs not run.

    saved: the epochs that pruned and stopped trials did not run, at each trial's own mean time; and
    what fused epochs would have taken more alone, as each crew measured when it began.
    """

    trial_hours: float
    cpu_hours: float
    gpu_hours: float
    pruning_saved: float
    patience_saved: float
    fusing_saved: float

    @classmethod
    def of(
        cls, result: SweepResult, placement: Placement, asked: Callable[[int], int | None]
    ) -> Cost:
        """Add up a sweep; `asked(number)` says how many epochs a trial was to have at most."""
        hours = sum(t.seconds for t in result.trials) / 3600
        saved = dict.fromkeys(TrialState, 0.0)
        for trial in result.trials:
            saved[trial.state] += trial.saved_s(asked(trial.number)) / 3600
        return cls(
            trial_hours=hours,
            cpu_hours=hours * placement.cpus * placement.workers,
            gpu_hours=hours * placement.gpus * placement.workers,
            pruning_saved=saved[TrialState.PRUNED],
            patience_saved=saved[TrialState.STOPPED],
            fusing_saved=sum(t.spared for t in result.trials) / 3600,
        )

    def line(self) -> str:
        """One line for people."""
        held = f"{self.gpu_hours:.2f} GPU" if self.gpu_hours else f"{self.cpu_hours:.2f} CPU"
        spared = [
            f"{how} {'spared' if hours > 0 else 'lost'} {abs(hours):.2f}"
            for how, hours in (
                ("pruning", self.pruning_saved),
                ("patience", self.patience_saved),
                ("fusing", self.fusing_saved),  # below 0 where it does not pay
            )
            if abs(hours) >= 0.005
        ]
        return ", ".join([f"cost: {held} hours", *spared])
