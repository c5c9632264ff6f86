"""Whether the Ray under a driver is still there: its own node, and the head of the cluster.

Ray keeps a driver alive whose own raylet has died, and lets it wait for ever; one whose head is
away for a minute it ends with words of its own. All that a driver knows is on disk, so that ending
it at once loses nothing, and `s4sweep resume` goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import ray

from cluster.live import Show
from cluster.probe import connect

EVERY_S = 1.0
MISSES = 2


@contextlib.contextmanager
def watched(show: Show, again: str) -> Iterator[None]:
    """End this process, with status 1 and one line, if its node of Ray dies inside the block.

    Says so once when the head does not answer, and when it does again. again: what goes on.
    """
    done = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(done, show, again), name="s4sweep-ground", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(done: threading.Event, show: Show, again: str) -> None:
    about = ray.get_runtime_context()
    head = about.gcs_address
    own = next(node for node in ray.nodes() if node["NodeID"] == about.get_node_id())
    node = f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}"
    misses = {node: 0, head: 0}
    is_away = False
    while not done.wait(EVERY_S):
        misses = {address: n + 1 if connect(address) else 0 for address, n in misses.items()}
        # Its port says it before the head knows: a driver of a dead node would start trials anew,
        # and what it had asked for would stay reserved on other nodes.
        if misses[node] == MISSES:
            show.close()
            line = f"s4sweep: the node of Ray under this driver has died; {again}."
            print(line, file=sys.stderr, flush=True)
            os._exit(1)  # the main thread may be waiting inside Ray, for ever
        if (misses[head] >= MISSES) != is_away:
            is_away = not is_away
            how = f"does not answer at {head}; if this ends, {again}" if is_away else "is back"
            show.note(f"the head of Ray {how}")
