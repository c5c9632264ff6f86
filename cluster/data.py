"""Prepares a sweep's data on every node before its first trial, so that no trial waits for it.

The cache builds once under a lock, so on a shared home one node builds and the others find it; on
node-local homes each node builds its own. Each node says on the way what it is.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import probe
from cluster.runtime import LOST
from cluster.telling import Teller, listen
from data_prep.fetch import Progress

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeReport:
    """A node that is ready: its versions, a hash of our code on it, GPUs, data fingerprints."""

    address: str
    host: str
    versions: Mapping[str, str]
    code: str
    gpus: list[str]
    data: Mapping[str, str]


def prepare_everywhere(
    blocks: list[Mapping[str, Any]], home: str, tell: Progress
) -> list[NodeReport]:
    """Open each data set once on every node that is alive.

    blocks: data blocks with `name` and options, without ranges. tell: hears of the progress. A node
    that is lost meanwhile has no report; trials prepare for themselves what is not there.
    Raises data_prep.DataError when a data set cannot be prepared.
    """
    plain = [dict(block) for block in blocks]
    nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
    tasks = []
    for node in nodes:
        address, teller = node["NodeManagerAddress"], Teller()
        call = _on_node(node["NodeID"]).remote(plain, home, address, teller)
        tasks.append((call, teller))
    reports: list[NodeReport]
    try:
        try:
            reports = listen(tasks, tell)
        except LOST:
            reports = list(_of_those_left([call for call, _ in tasks]))
    except ray.exceptions.RayTaskError as error:
        # The user's mistake, not the task's traceback.
        raise (error.cause or error) from None
    return reports


def _of_those_left(calls: list[Any]) -> Iterator[NodeReport]:
    for call in calls:
        try:
            yield ray.get(call)
        except LOST as error:
            why = str(error).split("\n")[0]
            logger.warning("a node was lost while it prepared the data: %s", why)


def _on_node(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return _prepare.options(scheduling_strategy=strategy)


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def _prepare(blocks: list[dict[str, Any]], home: str, address: str, tell: Progress) -> NodeReport:
    from sweeps.remote_home import open_anywhere

    opened = {}
    for block in blocks:
        name = block["name"]

        def told(what: str, done: int, total: int, name: str = name) -> None:
            tell(f"{name} {what}", done, total)

        opened[name] = open_anywhere(block, home=Path(home), progress=told).fingerprint
    return NodeReport(
        address=address,
        host=socket.gethostname(),
        versions=probe.versions(),
        code=probe.code_hash(),
        gpus=probe.smi(),
        data=opened,
    )
