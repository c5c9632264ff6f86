"""Where a trial fits: what it is given, what the cluster has, and how many may be out at once."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import ray
from ray import tune

from cluster.errors import UserError
from sweeps import SweepSpec
from sweeps.plural import plural

CAPACITY_EVERY_S = 2.0

Node = Mapping[str, float]  # what a node has, by Ray's names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """What one trial is given: `workers` equal shares of CPUs, GPUs, memory and custom resources.

    A fraction of a GPU shares one. Several workers train the trial together (data-parallel), are
    placed at the same time or not at all, and close to each other where that is possible.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    custom: dict[str, float] = dataclasses.field(default_factory=dict)
    workers: int = 1

    @property
    def share(self) -> dict[str, float]:
        """What one worker is given, by Ray's names."""
        share = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        share["memory"] = (self.memory_gb or 0.0) * 1e9
        return {key: value for key, value in share.items() if value} or {"CPU": 0.01}

    def bundles(self) -> tune.PlacementGroupFactory:
        """The placement group of one trial."""
        return tune.PlacementGroupFactory([self.share] * self.workers, strategy="PACK")

    def fits(self, node: Node) -> int:
        """How many workers a node with these resources can hold."""
        return min(int(node.get(key, 0.0) / value + 1e-9) for key, value in self.share.items())


def placement_of(spec: SweepSpec) -> Placement:
    """What one trial of the sweep is given.

    Several whole GPUs for one worker mean one worker for each GPU, with its part of the rest.
    """
    r = spec.resources
    split = int(r.gpus) if r.workers == 1 and r.gpus > 1 else 1
    return Placement(
        cpus=r.cpus if split == 1 else max(1, r.cpus // split),
        gpus=r.gpus / split,
        memory_gb=None if r.memory_gb is None else r.memory_gb / split,
        custom={key: value / split for key, value in r.custom.items()},
        workers=r.workers * split,
    )


def check_feasible(placement: Placement, nodes: Sequence[Node] | None = None) -> None:
    """Refuse a trial that the cluster as it is could never hold; it would wait for ever.

    nodes: what each has; None asks Ray. Raises UserError, which names the settings that ask for
    too much.
    """
    nodes = _nodes() if nodes is None else nodes
    holds = sum(placement.fits(node) for node in nodes)
    if holds >= placement.workers:
        return
    if holds:
        raise UserError(
            f"resources.workers: {placement.workers} are asked for and {holds} fit into "
            f"{plural(len(nodes), 'node')}."
        )
    raise UserError(f"no node can hold a trial: it asks for {_too_much(placement, nodes)}.")


def _too_much(placement: Placement, nodes: Sequence[Node]) -> str:
    wanted = placement.share
    best = {key: max((node.get(key, 0.0) for node in nodes), default=0.0) for key in wanted}
    short = [key for key, value in wanted.items() if best[key] < value] or list(wanted)
    names = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_gb"}
    units = {"memory": 1e9}
    return ", ".join(
        f"resources.{names.get(key, f'custom.{key}')}: {wanted[key] / units.get(key, 1):.4g} "
        f"(a node has {best[key] / units.get(key, 1):.4g})"
        for key in short
    )


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What the cluster has, and how many trials fit into it at once.

    node_gb: memory that the node with most of it offers.
    """

    nodes: int
    cpus: float
    gpus: float
    node_gb: float
    trials: int

    @classmethod
    def of(cls, placement: Placement, nodes: Sequence[Node] | None = None) -> Capacity:
        """Count over `nodes`; None is those that are alive now, as Ray says."""
        nodes = _nodes() if nodes is None else nodes
        return cls(
            nodes=len(nodes),
            cpus=sum(node.get("CPU", 0.0) for node in nodes),
            gpus=sum(node.get("GPU", 0.0) for node in nodes),
            node_gb=max((node.get("memory", 0.0) / 1e9 for node in nodes), default=0.0),
            trials=sum(placement.fits(node) for node in nodes) // placement.workers,
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


def this_machine() -> Node:
    """What a Ray that `run` starts on this machine would have."""
    from s4core.devices import gpu_names

    memory = psutil.virtual_memory().available
    return {"CPU": len(os.sched_getaffinity(0)), "GPU": len(gpu_names()), "memory": memory}


def _nodes() -> list[dict[str, Any]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
