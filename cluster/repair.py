"""`s4sweep doctor`: what dead processes have left in a home, and how to put it right.

Nothing here is needed for a sweep to be resumed: a driver that starts does all this for itself. It
is for homes whose drivers will not come back. What belongs to a living process is never touched.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cluster.control import FILE as STOP_FILE
from dashboards.shipper import lag, sync
from sweeps import Study, StudyError, SweepLock, TrialState, sweep_names
from sweeps.hints import hint
from sweeps.lease import is_alive, read_lock
from sweeps.plural import plural
from sweeps.storage import LOCK_GRACE_S

# A file that is being written is renamed within seconds.
OLD_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something out of order. act: puts it right and returns what it did; None: only told."""

    where: str
    what: str
    act: Callable[[], str] | None = None

    @property
    def sweep(self) -> str | None:
        """The sweep that it was found in, if it was in one."""
        kind, _, name = self.where.partition(" ")
        return name if kind == "sweep" else None


def look(
    home: Path, *, close: bool = False, deep: bool = False, uri: str | None = None
) -> Iterator[Fault]:
    """Every fault of a home. close: trials that nobody runs are faults too. deep: read checkpoints.

    A fault's `act` is to be called before the next one is asked for: later ones may build on it.
    """
    for name in sweep_names(home):
        yield from _sweep(home, name, close=close, deep=deep, uri=uri)
    for folder in sorted((home / "data").glob("*/")):
        yield from _cache(folder)


def send(name: str) -> None:
    """Bring to the object store what was put right in a sweep, if the home lies in one."""
    from sweeps.remote_home import exchange, mirror

    there = mirror()
    if there is not None:
        there.delete(f"sweeps/{name}/{STOP_FILE}")  # else it would be brought here once more
        exchange(there, f"sweeps/{name}")


def _sweep(home: Path, name: str, *, close: bool, deep: bool, uri: str | None) -> Iterator[Fault]:
    folder = home / "sweeps" / name
    where = f"sweep {name}"
    held = read_lock(folder)
    if held is not None and is_alive(held):
        return
    if held is not None:
        what = f"locked by process {held['pid']} on {held['host']}, which is gone"
        yield Fault(where, what, lambda: _unlock(folder))
    journal = folder / "study.journal.lock"
    if _age_s(journal) > LOCK_GRACE_S:
        yield Fault(where, "its journal is locked by nobody", lambda: _remove(journal))
    if (folder / STOP_FILE).exists():
        yield Fault(
            where, "a request to stop that nobody read", lambda: _remove(folder / STOP_FILE)
        )
    for path in sorted(folder.rglob("*.tmp")):
        if _age_s(path) > OLD_S:
            what = f"half a file, {path.relative_to(folder)}"
            yield Fault(where, what, lambda path=path: _remove(path))  # type: ignore[misc]
    yield from _zombies(home, name, held, close=close)
    if deep:
        yield from _checkpoints(folder, where)
    lines = lag(home, name, uri).lines
    if lines:
        what = f"{plural(lines, 'epoch')} that MLflow has not got"
        yield Fault(where, what, lambda: _replay(home, name, uri))


def _zombies(
    home: Path, name: str, held: dict[str, object] | None, *, close: bool
) -> Iterator[Fault]:
    where = f"sweep {name}"
    try:
        study = Study.open(name, home)
    except StudyError as error:
        yield Fault(where, str(error))
        return
    running = [t for t in study.result().trials if t.state is TrialState.RUNNING]
    if not running:
        return
    noun = "trial" if len(running) == 1 else "trials"
    numbers = f"{noun} {', '.join(str(t.number) for t in running)}"
    if not close:
        again = f"`{hint(f'resume {name}')}` goes on with them, --close gives them up"
        yield Fault(where, f"nobody runs {numbers}: {again}")
        return
    since = f" (process {held['pid']} on {held['host']})" if held else ""
    reason = f"closed by s4sweep doctor: its driver is gone{since}"

    def give_up() -> str:
        with SweepLock(study.folder):
            study.recover()
            for trial in running:
                study.tell(dataclasses.replace(trial, state=TrialState.FAILED, error=reason))
        return f"closed {numbers} as failed"

    yield Fault(where, f"nobody runs {numbers}", give_up)


def _checkpoints(folder: Path, where: str) -> Iterator[Fault]:
    """Read every checkpoint; a damaged one is moved aside, as the trainer would do it."""
    from s4core.train.checkpoint import read
    from s4core.train.errors import CheckpointError

    for path in sorted(folder.glob("trials/*/*.pt")):
        try:
            read(path)
        except CheckpointError as error:
            aside = path.with_name(f"{path.name}.bad")
            what = f"{path.relative_to(folder)} is damaged: {error}"
            yield Fault(where, what, lambda path=path, aside=aside: _move(path, aside))  # type: ignore[misc]


def _cache(folder: Path) -> Iterator[Fault]:
    """Half-built and damaged entries of one data set whose builders are gone."""
    for path in sorted(folder.iterdir()):
        fingerprint, _, rest = path.name.partition(".")
        if not path.is_dir() or not rest.startswith(("tmp-", "bad-")):
            continue
        what = "half-built" if rest.startswith("tmp-") else "damaged and set aside"
        try:
            # A builder holds it as long as it lives.
            with FileLock(folder / f"{fingerprint}.lock", timeout=0):
                yield Fault(
                    f"data {folder.name}",
                    f"{path.name}: {what}",
                    lambda path=path: _drop(path),  # type: ignore[misc]
                )
        except Timeout:
            continue


def _unlock(folder: Path) -> str:
    with SweepLock(folder):
        return "removed the lock"


def _remove(path: Path) -> str:
    path.unlink(missing_ok=True)
    return f"removed {path.name}"


def _move(path: Path, aside: Path) -> str:
    path.replace(aside)
    return f"moved it to {aside.name}"


def _drop(path: Path) -> str:
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    shutil.rmtree(path)
    return f"removed {size / 1e6:.1f} MB"


def _replay(home: Path, name: str, uri: str | None) -> str:
    return f"sent them to experiment {sync(home, name, uri)}"


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return -1.0
