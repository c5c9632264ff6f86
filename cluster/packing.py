"""`resources: {pack: true}`: as many trials at once as fit by the memory that trials have measured.

The first trial runs its first epoch alone; then the driver starts again with shares of that size (a
quarter more, for what later trials need beyond it) and everything goes on where it was. A trial
that outgrows its share is no failure: the shares double, and it goes on from its last epoch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from cluster.placement import Placement
from s4core.train.report import EpochReport
from sweeps.crew import OUT_OF_MEMORY

MARGIN = 1.25
CONTEXT_GB = 0.6  # of a GPU: CUDA's own for each process, which torch does not count


class Packing:
    """The shares of one sweep; told of reports and failures, it says what a trial is given.

    whole: what a trial is given while nothing is known. peaks_mb: what trials of this sweep have
    held before. gpu_gb: memory of a GPU, the smallest of the cluster; node_gb: of the largest node.
    """

    def __init__(
        self, whole: Placement, *, peaks_mb: Iterable[float], gpu_gb: float | None, node_gb: float
    ) -> None:
        self._whole = whole
        self._gpu_gb = gpu_gb
        self._node_gb = node_gb
        self._peak_gb = max(peaks_mb, default=0.0) / 1e3
        self._times = 1.0

    @property
    def is_known(self) -> bool:
        """Whether a trial has been measured, so that more than one may run."""
        return self._peak_gb > 0

    @property
    def placement(self) -> Placement:
        """What a trial is given now."""
        if not self.is_known:
            return self._whole
        if not self._whole.gpus:
            return dataclasses.replace(self._whole, memory_gb=min(self._share_gb, self._node_gb))
        if self._gpu_gb is None:
            return self._whole
        sharing = max(1, int(self._gpu_gb / self._share_gb))
        # Ray counts in ten thousandths: three of 0.3333 fit, three of 0.33334 do not.
        return dataclasses.replace(self._whole, gpus=math.floor(1e4 / sharing) / 1e4)

    def measured(self, report: EpochReport) -> bool:
        """Take a report in; True when it is the first, so that shares are known from now on."""
        was_known = self.is_known
        self._peak_gb = max(self._peak_gb, report.metrics.get("peak_memory_mb", 0.0) / 1e3)
        return self.is_known and not was_known

    def outgrown(self, kind: str) -> bool:
        """Double the shares if an error says that one was too small, and there is more to give."""
        is_memory = kind in OUT_OF_MEMORY
        is_whole = self.placement.gpus == 1 or self.placement.memory_gb == self._node_gb
        if not self.is_known or not is_memory or is_whole:
            return False
        self._times *= 2
        return True

    def line(self, trials: int) -> str:
        """What was found, for people."""
        gpus, memory_gb = self.placement.gpus, self.placement.memory_gb
        if gpus and self._gpu_gb is None:
            return "packing: nvidia-smi shows no GPU, so each trial keeps a whole one"
        share = f"{gpus:g} of a GPU" if gpus else f"{memory_gb:.2g} GB"
        return (
            f"packing: trials hold up to {self._peak_gb:.2g} GB, so each is given {share}: "
            f"{trials} at a time"
        )

    @property
    def _share_gb(self) -> float:
        context = CONTEXT_GB if self._whole.gpus else 0.0
        return self._times * (MARGIN * self._peak_gb + context)


def smallest_gpu_gb(seen: Iterable[Sequence[str]]) -> float | None:
    """Memory of the smallest GPU of all nodes, out of nvidia-smi's "name, driver, 81559 MiB"."""
    sizes = [float(line.rsplit(", ", 1)[-1].split()[0]) * 2**20 / 1e9 for g in seen for line in g]
    return min(sizes, default=None)
