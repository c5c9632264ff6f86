"""Shards of a generated data set as Ray tasks, for `data_prep.prepare(..., map=...)`."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray


def ray_map(function: Callable[[Any], Any], shards: Iterable[Any]) -> Iterator[Any]:
    """Yield function(shard) for every shard, in order, made by one-CPU tasks on any node.

    At most two tasks a CPU are under way at once, so that finished shards do not pile up.
    """
    task = ray.remote(num_cpus=1, max_retries=3)(function)
    room = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    flying: collections.deque[Any] = collections.deque()
    for shard in shards:
        flying.append(task.remote(shard))
        if len(flying) >= room:
            yield ray.get(flying.popleft())
    while flying:
        yield ray.get(flying.popleft())
