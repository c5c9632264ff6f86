"""What a task on a worker is doing, told to the driver while it waits for the task's result.

The words go through the key-value store of Ray's head, which every process is connected to: a
queue would be one more process to start.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

import ray
import ray.exceptions
from ray.experimental import internal_kv

from data_prep.fetch import Progress

EVERY_S = 0.5
_SPACE = b"s4sweep"


class Teller:
    """Goes to a worker with a task, which calls it; `listen` hears the last word of each."""

    def __init__(self) -> None:
        self.key = f"progress:{uuid.uuid4().hex}".encode()
        self._told = ("", 0.0)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far `what` is; of a thing that goes on, two words a second."""
        last, at = self._told
        if last == what and done != total and time.monotonic() - at < EVERY_S:
            return
        self._told = (what, time.monotonic())
        # The head may be away for a while: the task itself needs it no more than before.
        with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
            text = json.dumps([what, done, total]).encode()
            internal_kv._internal_kv_put(self.key, text, overwrite=True, namespace=_SPACE)


def listen(tasks: Iterable[tuple[Any, Teller]], tell: Progress) -> list[Any]:
    """The results of tasks, like `ray.get`, passing on what their tellers say until then."""
    tasks = list(tasks)
    calls = [call for call, _ in tasks]
    heard: dict[bytes, bytes] = {}
    waiting = calls
    try:
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=EVERY_S)
            for _, teller in tasks:
                word = internal_kv._internal_kv_get(teller.key, namespace=_SPACE)
                if word and heard.get(teller.key) != word:
                    heard[teller.key] = word
                    tell(*json.loads(word))
        return list(ray.get(calls))
    finally:
        for _, teller in tasks:
            internal_kv._internal_kv_del(teller.key, namespace=_SPACE)
