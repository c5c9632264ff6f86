"""Where the study is kept: a journal file (works on NFS), or any database that Optuna can reach."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from .errors import StudyError

# Optuna's default is 30 s, for which every other process stands still after a kill; the lock is
# held for one append, a few milliseconds.
LOCK_GRACE_S = 5


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Open the storage of the sweep in `folder`; `env:NAME` stands for a variable that holds a URL.

    Raises StudyError if the variable is not set or the database cannot be reached.
    """
    if url is None:
        path = folder / "study.journal"
        lock = JournalFileOpenLock(str(path), grace_period=LOCK_GRACE_S)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    if url.startswith("env:"):
        name = url.removeprefix("env:")
        if name not in os.environ:
            raise StudyError(f"the environment variable {name} (storage) is not set.")
        url = os.environ[name]
    options = {} if url.startswith("sqlite") else {"pool_pre_ping": True, "pool_recycle": 1800}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except Exception as error:
        # SQLAlchemy's messages hold the URL with its password: name the kind of failure only.
        raise StudyError(f"storage: cannot open the database: {type(error).__name__}.") from error


def repair_journal(folder: Path) -> None:
    """Undo what a killed writer left: a lock that nobody holds, a last line that is not whole.

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
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            file.truncate(whole)
            os.fsync(file.fileno())


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
