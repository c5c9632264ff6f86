"""Learning rate schedules as pure functions of the step: nothing to store, nothing to go stale.

The one schedule with a memory, plateau, keeps it in `Plateau`, which sits in the checkpoint.
"""

from __future__ import annotations

import dataclasses
import math

from s4core.train.config import TrainConfig
from s4core.train.patience import Best


def learning_rate(
    train: TrainConfig, base: float, *, step: int, steps_per_epoch: int, plateau: float = 1.0
) -> float:
    """The rate that optimiser step `step` (from 0) uses, for a group whose full rate is `base`.

    plateau: the factor that `Plateau` has reached. lr_min is a rate, the same for every group
    (a group whose base is smaller stays at its base).
    """
    if train.schedule == "s5":
        return _s5(train, base, step, steps_per_epoch)
    epoch = step / steps_per_epoch
    warm = train.warmup
    if epoch < warm:
        # (step + 1): a first step at rate 0 would be wasted.
        return base * min(1.0, (step + 1) / (warm * steps_per_epoch))
    floor = min(train.lr_min, base)
    done = min(1.0, (epoch - warm) / (train.horizon - warm))
    match train.schedule:
        case "constant":
            return base
        case "cosine":
            return floor + (base - floor) * 0.5 * (1.0 + math.cos(math.pi * done))
        case "linear":
            return base + (floor - base) * done
        case "exponential":
            return max(
                floor, base * math.pow(train.decay_factor, (epoch - warm) / train.decay_epochs)
            )
        case "step":
            return max(floor, base * math.pow(train.decay_factor, int(epoch) // train.decay_epochs))
        case "inverse_sqrt":
            start = max(1.0, warm * steps_per_epoch)
            return max(floor, base * math.sqrt(start / max(start, step + 1.0)))
        case "plateau":
            return max(floor, base * plateau)


def _s5(train: TrainConfig, base: float, step: int, steps_per_epoch: int) -> float:
    """The rate as published: each value is written after a step and used by the next.

    Source: lindermanlab/S5, train_helpers.py; the cosine's phase counts from step 0.
    """
    if step == 0:
        return base
    written = step - 1
    warm = train.warmup * steps_per_epoch
    if written < warm:
        return base * min(1.0, (written + 1) / warm)
    total = max(1.0, (train.horizon - train.warmup) * steps_per_epoch)
    phase = min(written, total) / total
    floor = min(train.lr_min, base)
    return floor + (base - floor) * 0.5 * (1.0 + math.cos(math.pi * phase))


@dataclasses.dataclass(kw_only=True)
class Plateau:
    """Reduce-on-plateau: `factor` falls when the objective did not improve for decay_epochs."""

    best: Best
    factor: float = 1.0
    since: int = 0

    def update(self, train: TrainConfig, epoch: int, value: float) -> None:
        """Take the objective of `epoch`; epochs of warm-up do not count."""
        if self.best.update(epoch, value) or epoch <= train.warmup:
            self.since = epoch
        elif epoch - self.since >= train.decay_epochs:
            self.factor *= train.decay_factor
            self.since = epoch
