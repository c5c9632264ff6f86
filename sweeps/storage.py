"""Where the study is kept: a journal file (works on NFS), or any database that Optuna can reach."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileOpenLock,
)
from optuna.storages.journal._storage import JournalOperation

from .errors import StudyError

# Optuna's default is 30 s, for which every other process stands still after a kill; the lock is
# held for one append, a few milliseconds.
LOCK_GRACE_S = 5

# Values of an epoch, and what pruners note about them: told again from the trial's checkpoint.
SPARED = (JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE, JournalOperation.SET_TRIAL_SYSTEM_ATTR)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Open the storage of the sweep in `folder`; `env:NAME` stands for a variable that holds a URL.

    Raises StudyError if the variable is not set or the database cannot be reached.
    """
    if url is None:
        return JournalStorage(Journal(folder / "study.journal"))
    url = resolved(url)
    check_url(url)
    options = {} if url.startswith("sqlite") else {"pool_pre_ping": True, "pool_recycle": 1800}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:  # psycopg, pymysql, ...
        why = error.__cause__ or error
        raise StudyError(f"storage: no driver of this database here: {why}.") from error
    except Exception as error:
        # SQLAlchemy's messages hold the URL with its password: name the kind of failure only.
        raise StudyError(f"storage: cannot open the database: {type(error).__name__}.") from error


def check_url(url: str) -> None:
    """Raise StudyError for a file of SQLite that is another one in each folder, or no file."""
    if url.startswith("sqlite") and not re.match(r"sqlite(\+\w+)?:////", url):
        raise StudyError(
            "storage: a SQLite file needs its whole path, as in sqlite:////home/me/studies.db."
        )


def resolved(url: str) -> str:
    """The URL itself, or what the variable holds that `env:NAME` names; StudyError without it."""
    if not url.startswith("env:"):
        return url
    name = url.removeprefix("env:")
    if name not in os.environ:
        raise StudyError(f"the environment variable {name} (storage) is not set.")
    return os.environ[name]


class Journal(BaseJournalBackend):
    """Optuna's journal file, whose writers also cut off a last line that a kill left torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = JournalFileOpenLock(str(path), grace_period=LOCK_GRACE_S)
        self._file = JournalFileBackend(str(path), lock_obj=self._lock)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Give the operations from this one on."""
        return self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations, and see them to the disk, unless a restarted trial would say them again.

        A write survives the death of its process either way; fsync (4 ms) is for the machine's.
        """
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._lock.acquire()
        try:
            with open(self._path, "rb+") as file:
                _cut_torn_line(file)
                file.write(text.encode())
                file.flush()
                if any(log["op_code"] not in SPARED for log in logs):
                    os.fsync(file.fileno())
        finally:
            self._lock.release()


def _cut_torn_line(file: IO[bytes]) -> None:
    """Leave the file at its end, after a whole line."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def drop_stale_lock(folder: Path) -> None:
    """Remove the journal's lock if a killed process left it.

    To be called by the driver, which holds the sweep's own lock; other writers (enqueue, extend)
    hold the journal's for milliseconds, so one that is two seconds old is dead.
    """
    path = folder / "study.journal"
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + 2.0
    while lock.exists() and time.monotonic() < deadline:
        first = _identity(lock)
        time.sleep(0.05)
        if first != _identity(lock):
            deadline = time.monotonic() + 2.0
    lock.unlink(missing_ok=True)


def _identity(lock: Path) -> tuple[int, int] | None:
    try:
        stat = lock.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def quiet_optuna() -> None:
    """Keep Optuna's own progress lines and its warnings of experimental parts to itself."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
