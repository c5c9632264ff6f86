"""Shards in several processes of this machine, for `prepare(..., map=...)`."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from data_prep.build import Map


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Map]:
    """Give a `map` that works in `workers` processes (1: in this one)."""
    if workers == 1:
        yield map
        return
    # Spawned, not forked: the caller may have threads (progress bars, BLAS).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield pool.map
