"""Where a trial fits: what it is given, what the cluster has, and how many may be out at once."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import ray
from ray import tune

from cluster.errors import UserError
from sweeps import SweepSpec

CAPACITY_EVERY_S = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """What one trial is given: CPUs, GPUs (a fraction shares one) and custom resources."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    custom: dict[str, float] = dataclasses.field(default_factory=dict)

    def bundles(self) -> tune.PlacementGroupFactory:
        """The placement group of one trial."""
        bundle = {"CPU": self.cpus, **self.custom}
        if self.gpus:
            bundle["GPU"] = self.gpus
        if self.memory_gb:
            bundle["memory"] = self.memory_gb * 1e9
        return tune.PlacementGroupFactory([bundle])


def placement_of(spec: SweepSpec) -> Placement:
    """What one trial of the sweep is given."""
    r = spec.resources
    return Placement(cpus=r.cpus, gpus=r.gpus, memory_gb=r.memory_gb, custom=dict(r.custom))


def check_feasible(placement: Placement) -> None:
    """Refuse a trial that no node of the cluster could ever hold.

    Raises UserError; without it the trial would wait for ever.
    """
    wanted = {"CPU": placement.cpus, "GPU": placement.gpus, **placement.custom}
    wanted = {key: value for key, value in wanted.items() if value}
    nodes: list[dict[str, Any]] = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if any(all(node.get(k, 0) >= v for k, v in wanted.items()) for node in nodes):
        return
    names = {"CPU": "cpus", "GPU": "gpus"}
    best = {k: max((n.get(k, 0) for n in nodes), default=0) for k in wanted}
    short = [k for k, v in wanted.items() if best[k] < v] or list(wanted)
    text = ", ".join(
        f"resources.{names.get(k, f'custom.{k}')}: {wanted[k]:g} (a node has {best[k]:g})"
        for k in short
    )
    raise UserError(f"no node can hold a trial: it asks for {text}.")


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What the cluster has, and how many trials fit into it at once."""

    nodes: int
    cpus: float
    gpus: float
    trials: int

    @classmethod
    def of(cls, placement: Placement) -> Capacity:
        """Count over the nodes that are alive now."""
        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        wanted = {"CPU": placement.cpus, "GPU": placement.gpus, **placement.custom}
        fits = [
            min(int(node.get(k, 0) / v + 1e-9) for k, v in wanted.items() if v) for node in nodes
        ]
        return cls(
            nodes=len(nodes),
            cpus=sum(n.get("CPU", 0) for n in nodes),
            gpus=sum(n.get("GPU", 0) for n in nodes),
            trials=sum(fits),
        )


class AtOnce:
    """How many trials may be out at once: what was asked for, within what fits now.

    A cluster of changing size gets one trial more than fits, so that an autoscaler sees the need;
    a fixed one gets exactly what fits, because a trial that waits was chosen with less knowledge.
    """

    def __init__(self, placement: Placement, concurrent: int | None, *, is_fixed: bool) -> None:
        self._placement = placement
        self._concurrent = concurrent
        self._is_fixed = is_fixed
        self._fits = 1
        self._looked = -math.inf

    def __call__(self) -> int:
        if not self._is_fixed and self._concurrent is not None:
            return self._concurrent
        if time.monotonic() - self._looked > CAPACITY_EVERY_S:
            self._fits = max(1, Capacity.of(self._placement).trials)
            self._looked = time.monotonic()
        fits = self._fits if self._is_fixed else self._fits + 1
        return fits if self._concurrent is None else min(fits, self._concurrent)
