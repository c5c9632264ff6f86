"""Prepares a sweep's data on every node before its first trial, so that no trial waits for it.

The cache builds once under a lock, so on a shared home one node builds and the others find it; on
node-local homes each node builds its own. Each node says on the way what it is.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import probe
from sweeps import SweepSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeReport:
    """A node that is ready: its versions, a hash of our code on it, GPUs, data fingerprints."""

    address: str
    host: str
    versions: Mapping[str, str]
    code: str
    gpus: list[str]
    data: Mapping[str, str]


def data_blocks(spec: SweepSpec) -> list[Mapping[str, Any]]:
    """The data sets that the sweep's trials use, as far as the corners of its space show."""
    blocks = {
        json.dumps(point.config["data"], sort_keys=True): point.config["data"]
        for point in spec.space.corners()
    }
    return list(blocks.values())


def prepare_everywhere(blocks: list[Mapping[str, Any]], home: str) -> list[NodeReport]:
    """Open each data set once on every node that is alive.

    blocks: data blocks with `name` and options, without ranges.
    Raises data_prep.DataError when a data set cannot be prepared.
    """
    plain = [dict(block) for block in blocks]
    calls = [
        _on_node(node["NodeID"]).remote(plain, home, node["NodeManagerAddress"])
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    ]
    try:
        reports: list[NodeReport] = ray.get(calls)
    except ray.exceptions.RayTaskError as error:
        # The user's mistake, not the task's traceback.
        raise (error.cause or error) from None
    return reports


def _on_node(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return _prepare.options(scheduling_strategy=strategy)


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def _prepare(blocks: list[dict[str, Any]], home: str, address: str) -> NodeReport:
    from sweeps.remote_home import open_anywhere

    opened = {b["name"]: open_anywhere(b, home=Path(home)).fingerprint for b in blocks}
    return NodeReport(
        address=address,
        host=socket.gethostname(),
        versions=probe.versions(),
        code=probe.code_hash(),
        gpus=probe.smi(),
        data=opened,
    )
