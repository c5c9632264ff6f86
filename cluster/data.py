"""Prepares a sweep's data on every node before its first trial, so that no trial waits for it.

The cache builds once under a lock, so on a shared home one node builds and the others find it; on
node-local homes each node builds its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps import SweepSpec


def data_blocks(spec: SweepSpec) -> list[Mapping[str, Any]]:
    """The data sets that the sweep's trials use, as far as the corners of its space show."""
    blocks = {
        json.dumps(point.config["data"], sort_keys=True): point.config["data"]
        for point in spec.space.corners()
    }
    return list(blocks.values())


def prepare_everywhere(blocks: list[Mapping[str, Any]], home: str) -> list[str]:
    """Open each data set once on every node that is alive; returns a line per node and data set.

    blocks: data blocks with `name` and options, without ranges.
    Raises data_prep.DataError when a data set cannot be prepared.
    """
    calls = [
        _on_node(node["NodeID"]).remote(dict(block), home, node["NodeManagerAddress"])
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        for block in blocks
    ]
    try:
        lines: list[str] = ray.get(calls)
    except ray.exceptions.RayTaskError as error:
        # The user's mistake, not the task's traceback.
        raise (error.cause or error) from None
    return lines


def _on_node(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return _prepare.options(scheduling_strategy=strategy)


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def _prepare(block: dict[str, Any], home: str, address: str) -> str:
    from sweeps.remote_home import open_anywhere

    dataset = open_anywhere(block, home=Path(home))
    return f"{address}: {block['name']} {dataset.fingerprint[:12]}"
