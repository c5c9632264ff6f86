"""Waiting until a cluster has room for one trial: nodes that join late, or that must be asked for.

A cluster that grows by demand has no workers before somebody asks: the autoscaler is told what one
trial needs. Without an autoscaler the question is heard by nobody and costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.errors import UserError
from cluster.placement import Placement, check_feasible

WAIT_S = 600.0  # a cloud needs five minutes for a node
_POLL_S = 1.0


def wait_for_room(
    placement: Placement,
    note: Callable[[str], None],
    *,
    wait_s: float = WAIT_S,
    check: Callable[[Placement], None] = check_feasible,
) -> None:
    """Return when a node can hold a trial; raises UserError when none can after `wait_s`."""
    deadline = time.monotonic() + wait_s
    has_asked = False
    while True:
        try:
            check(placement)
            break
        except UserError as error:
            if time.monotonic() >= deadline:
                raise
            if not has_asked:
                has_asked = True
                note(f"waiting up to {wait_s:.0f} s for nodes: {error}")
                _ask_autoscaler(placement)
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
    if has_asked:
        note("there is room now")


def _ask_autoscaler(placement: Placement) -> None:
    from ray.autoscaler.sdk import request_resources

    bundles = [{"CPU": placement.cpus, "GPU": placement.gpus, **placement.custom}]
    whole = [{k: int(-(-v // 1)) for k, v in b.items() if v} for b in bundles]  # it takes integers
    request_resources(bundles=whole * placement.workers)
