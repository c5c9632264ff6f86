"""Patience: stop when the objective has not improved for so many epochs. The one stopping rule."""

from __future__ import annotations

import dataclasses
from typing import Literal

Mode = Literal["max", "min"]


@dataclasses.dataclass(kw_only=True)
class Best:
    """The best value of a curve so far; NaN never is.

    margin: by how much a value must beat the best to replace it (absolute, >= 0).
    """

    mode: Mode
    margin: float = 0.0
    value: float | None = None
    epoch: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Take the value of `epoch`; True if it is the best so far."""
        if value != value:
            return False
        sign = 1.0 if self.mode == "max" else -1.0
        if self.value is not None and not sign * (value - self.value) > self.margin:
            return False
        self.value, self.epoch = value, epoch
        return True


def is_out_of_patience(patience: int | None, *, epoch: int, best_epoch: int) -> bool:
    """Whether to stop after `epoch`: `epoch - best_epoch >= patience`; None never stops."""
    return patience is not None and epoch - best_epoch >= patience
