"""Whether the Ray under a driver is still there: its own node, and the head of the cluster.

Ray keeps a driver alive whose own raylet has died, and lets it wait for ever; one whose head is
away for a minute it ends with words of its own. All that a driver knows is on disk, so that ending
it at once loses nothing, and `s4sweep resume` goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys

import ray

from cluster.live import Show
from cluster.probe import connect
from sweeps.background import meanwhile

EVERY_S = 1.0
MISSES = 2


def watched(show: Show, again: str) -> contextlib.AbstractContextManager[None]:
    """End this process, with status 1 and one line, if its node of Ray dies inside the block.

    Says so once when the head does not answer, and when it does again. again: what goes on.
    """
    return meanwhile(Ground(show, again).look, every_s=EVERY_S, name="s4sweep-ground")


class Ground:
    """The addresses that have to answer, and how often they have not."""

    def __init__(self, show: Show, again: str) -> None:
        about = ray.get_runtime_context()
        own = next(node for node in ray.nodes() if node["NodeID"] == about.get_node_id())
        self._show, self._again = show, again
        self._head = about.gcs_address
        self._node = f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}"
        self._misses = {self._node: 0, self._head: 0}
        self._is_away = False

    def look(self) -> None:
        """Ask both once."""
        for address, misses in self._misses.items():
            self._misses[address] = misses + 1 if connect(address) else 0
        # Its port says it before the head knows: a driver of a dead node would start trials anew,
        # and what it had asked for would stay reserved on other nodes.
        if self._misses[self._node] == MISSES:
            self._show.close()
            line = f"s4sweep: the node of Ray under this driver has died; {self._again}."
            print(line, file=sys.stderr, flush=True)
            os._exit(1)  # the main thread may be waiting inside Ray, for ever
        if (self._misses[self._head] >= MISSES) != self._is_away:
            self._is_away = not self._is_away
            lost = f"does not answer at {self._head}; if this ends, {self._again}"
            self._show.note(f"the head of Ray {lost if self._is_away else 'is back'}")
