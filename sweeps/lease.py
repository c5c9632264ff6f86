"""Who may write: one driver a sweep (`SweepLock`), one attempt a trial (`Lease`).

Both are a small file that names its holder. A driver that is dead (its process is gone, or its
heartbeat is a minute old) gives way; an attempt gives way to any later one, and finds out before it
publishes anything, because the file no longer holds its token.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from filelock import FileLock

from .errors import LeaseLost, SweepLocked
from .files import read_json, write_json

HEARTBEAT_S = 10.0
STALE_S = 60.0


class Lease:
    """The right of one attempt to write into a trial's folder."""

    def __init__(self, folder: Path, attempt: str) -> None:
        self._path = folder / "lease.json"
        self._token = uuid.uuid4().hex
        self._about = {"attempt": attempt, **_holder()}

    def take(self) -> None:
        """Take the trial from whoever has it."""
        write_json(self._path, {**self._about, "token": self._token})

    def check(self) -> None:
        """Raise LeaseLost if a later attempt has taken the trial."""
        found = read_json(self._path)
        if found is None or found["token"] != self._token:
            by = found["attempt"] if found else "nobody (lease.json is gone)"
            raise LeaseLost(f"{self._path.parent}: taken by attempt {by}")


class SweepLock:
    """The right to drive a sweep; a context manager.

    Raises SweepLocked, on entering, if a living driver has it. A thread keeps the heartbeat.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock.json"
        self._guard = FileLock(str(folder / ".lock.guard"))
        self._about: dict[str, Any] = {**_holder(), "token": uuid.uuid4().hex}
        self._end = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> SweepLock:
        with self._guard:
            held = read_lock(self._path.parent)
            if held is not None and is_alive(held):
                ago = time.time() - float(held["heartbeat"])
                raise SweepLocked(
                    f"sweep {self._path.parent.name!r} is driven by process {held['pid']} on "
                    f"{held['host']} (heartbeat {ago:.0f} s ago); stop that one first: "
                    f"`s4sweep stop {self._path.parent.name}`."
                )
            self._write()
        self._beat = threading.Thread(target=self._keep, name="sweep-lock", daemon=True)
        self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._beat is not None:
            self._beat.join()
        with self._guard:
            if self.is_held():
                self._path.unlink()

    def is_held(self) -> bool:
        """Whether nobody has taken the sweep over (after this process stood still for a minute)."""
        found = read_lock(self._path.parent)
        return found is not None and bool(found["token"] == self._about["token"])

    def _keep(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            with self._guard:
                if not self.is_held():
                    return
                self._write()

    def _write(self) -> None:
        write_json(self._path, {**self._about, "heartbeat": time.time()})


def read_lock(folder: Path) -> dict[str, Any] | None:
    """Give what lock.json of a sweep's folder says: host, pid, started, heartbeat; None if free."""
    found: dict[str, Any] | None = read_json(folder / "lock.json")
    return found


def is_alive(held: dict[str, Any]) -> bool:
    """Whether the holder of a lock still drives: by its process on this host, else by heartbeat."""
    if held["host"] == socket.gethostname():
        try:
            born = psutil.Process(int(held["pid"])).create_time()
        except psutil.NoSuchProcess:
            return False
        return bool(abs(born - float(held["born"])) < 2.0)
    return time.time() - float(held["heartbeat"]) < STALE_S


def _holder() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        "started": time.time(),
    }
