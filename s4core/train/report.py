"""What one epoch of training says: the only word that a trial sends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

StoppedBy = Literal["epochs", "patience"]

# Metrics that no two runs share: everything else is equal between a run and its repetition.
MEASURED = frozenset({"epoch_s", "samples_per_s", "peak_memory_mb", "fused", "spared_s"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """The outcome of one epoch, on disk before anybody sees it.

    epoch: 1, 2, ...; metrics: flat names such as "val/accuracy", "train/loss", "lr", "lr/ssm",
    "epoch_s" (seconds), "samples_per_s", "peak_memory_mb"; finite or NaN, never missing. An epoch
    that was trained as one with those of other trials also says of how many in all ("fused"; the
    seconds are its share), and "spared_s", what it would have taken more alone, if that is known.
    best: the objective metric is the best so far, and `best.pt` is this epoch's.
    stopped_by: set on the last report only: all epochs done, or patience ran out.
    """

    epoch: int
    metrics: Mapping[str, float]
    best: bool = False
    stopped_by: StoppedBy | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for a line of metrics.jsonl; `from_json` is the inverse."""
        return {**dataclasses.asdict(self), "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EpochReport:
        """Read what `to_json` wrote; keys that it did not write (a time stamp, say) are ignored."""
        names = {f.name for f in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in names})
