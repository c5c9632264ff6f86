"""Who may write: one driver a sweep (`SweepLock`), one attempt a trial (`Lease`).

Both are a small file that names its holder. A driver that is dead (its process is gone, or its
heartbeat is a minute old) gives way; an attempt gives way to any later one, and finds out before it
publishes anything, because the file no longer holds its token.
"""

from __future__ import annotations

import logging
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
from .hints import hint

logger = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
STALE_S = 60.0
LOOK_S = 1.0


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
    waits: whether to wait for the next heartbeat of a holder on another host, which may be gone: it
    is refused after 10 s if one comes, and gives way after a minute if none does. (For a folder
    that both hosts see; the mirror of an object store shows no new heartbeats.)
    """

    def __init__(self, folder: Path, *, waits: bool = False) -> None:
        self._waits = waits
        self._path = folder / "lock.json"
        self._guard = FileLock(str(folder / ".lock.guard"))
        self._about: dict[str, Any] = {**_holder(), "token": uuid.uuid4().hex}
        self._end = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> SweepLock:
        first: dict[str, Any] | None = None
        while (held := self._take()) is not None:
            is_silent = self._waits and held["host"] != socket.gethostname()
            if not is_silent or first not in (None, held):
                raise SweepLocked(self._refusal(held))
            if first is None:
                first = held
                logger.warning("%s Waiting for a sign of life of that one.", self._refusal(held))
            time.sleep(LOOK_S)
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

    def _take(self) -> dict[str, Any] | None:
        """Take the lock, or give what it says of the driver that has it."""
        with self._guard:
            held = driver_of(self._path.parent)
            if held is None:
                self._write()
            return held

    def _refusal(self, held: dict[str, Any]) -> str:
        name, ago = self._path.parent.name, time.time() - float(held["heartbeat"])
        return (
            f"sweep {name!r} is driven by process {held['pid']} on {held['host']} (heartbeat "
            f"{ago:.0f} s ago); stop that one first: `{hint(f'stop {name}')}`."
        )

    def _keep(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            try:
                with self._guard:
                    if not self.is_held():
                        return
                    self._write()
            except OSError as error:  # the storage is away; the next beat may get through
                logger.warning("cannot keep the lock of the sweep: %s", error)

    def _write(self) -> None:
        write_json(self._path, {**self._about, "heartbeat": time.time()})


def read_lock(folder: Path) -> dict[str, Any] | None:
    """Give what lock.json of a sweep's folder says: host, pid, started, heartbeat; None if free."""
    found: dict[str, Any] | None = read_json(folder / "lock.json")
    return found


def driver_of(folder: Path) -> dict[str, Any] | None:
    """Give who drives the sweep of a folder, as `read_lock`; None if nobody (alive) does."""
    held = read_lock(folder)
    return held if held is not None and is_alive(held) else None


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
