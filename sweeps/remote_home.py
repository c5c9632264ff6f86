"""A home in an object store: who writes which file of a sweep, and when it travels.

Every machine works in its own mirror (data_prep/remote.py). The driver owns the study, the results
and the lock, and sends what has changed every few seconds; a worker owns what a trial writes, and
sends it before each report goes out, so that a trial that is started elsewhere finds its checkpoint
there. A fence in the trial's folder keeps an attempt that was thought dead from sending anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import Dataset, open_dataset
from data_prep.fetch import Progress
from data_prep.remote import Mirror, Remote, is_url, mirror_of

from .background import meanwhile
from .errors import LeaseLost, StudyError
from .files import options_of
from .lease import driver_of
from .record import PAUSED_FILE, TARGET_FILE
from .types import TrialSpec

if TYPE_CHECKING:
    from .crew import Said
    from .study import Study

logger = logging.getLogger(__name__)

EVERY_S = 2.0
FENCE = "fence"
# Of a trial: what its worker writes. Everything else under sweeps/ is the driver's.
LOGS = ("metrics.jsonl", "attempts.jsonl")
WORKERS = (*LOGS, "spec.json", "lease.json", "error.txt", "data.json", "test.json", FENCE)


def mirror() -> Mirror | None:
    """The mirror of this process's home; None for a home that is a folder."""
    url = os.environ.get("S4SWEEP_HOME", "")
    return mirror_of(url) if is_url(url) else None


def refresh(mirror: Mirror, *, checkpoints: str | None = None) -> None:
    """Bring everything of every sweep but its checkpoints; a sweep driven from here is left.

    checkpoints: a sweep whose best.pt of every trial are brought too.
    """
    wanted = f"sweeps/{checkpoints}/trials/"
    objects = {
        path: remote
        for path, remote in mirror.objects("sweeps").items()
        if not path.endswith((".pt", f"/{FENCE}"))
        or (path.startswith(wanted) and path.endswith("/best.pt"))
    }
    busy = {p.parent.name for p in mirror.local.glob("sweeps/*/lock.json") if _driven(p.parent)}
    mirror.pull(
        {
            path: remote
            for path, remote in objects.items()
            if path.split("/")[1] not in busy and not _is_longer_here(mirror, path, remote)
        }
    )
    for lock in mirror.local.glob("sweeps/*/lock.json"):
        if lock.parent.name not in busy and str(lock.relative_to(mirror.local)) not in objects:
            lock.unlink()


def _driven(folder: Path) -> bool:
    held = driver_of(folder)
    return held is not None and held["host"] == os.uname().nodename


def _is_longer_here(mirror: Mirror, path: str, remote: Remote) -> bool:
    """Whether a file that is only ever appended to has something that could not be sent."""
    local = mirror.local / path
    return path.endswith((".jsonl", ".journal")) and (
        local.is_file() and local.stat().st_size > remote.size
    )


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Keep the store up to date with a sweep's folder while the block runs, and at its end.

    Does nothing for a home that is a folder. An outage of the store is waited for: what could not
    be sent is sent later, at the latest by the next command on this machine.
    """
    there = mirror()
    if there is None:
        yield
        return
    prefix = str(folder.relative_to(there.local))
    exchange(there, prefix)

    def keep() -> None:
        try:
            exchange(there, prefix)
        except OSError as error:
            logger.warning("%s is away and is tried again: %s", there.url, error)

    try:
        with meanwhile(keep, every_s=EVERY_S, name="s4sweep-mirror"):
            yield
    finally:
        exchange(there, prefix)


@contextlib.contextmanager
def steered(study: Study) -> Iterator[None]:
    """Change a study inside the block: who drives the sweep, now or next, gets to know of it.

    With the home in a store a driver on another machine has the journal on its own disk, and reads
    no other: StudyError. A study in a database can be changed from anywhere.
    """
    there, driver = mirror(), driver_of(study.folder)
    if there is None or _driven(study.folder):
        yield
        return
    if driver is not None and study.spec.storage is None:
        host = driver["host"]
        raise StudyError(
            f"sweep {study.spec.name!r} is driven on {host}, which has its study: say this with "
            f"--address http(s)://HEAD:8265 (a cluster's) or on {host} itself."
        )
    yield
    if driver is None:
        names = (TARGET_FILE, PAUSED_FILE, "study.journal")
        there.push([str((study.folder / name).relative_to(there.local)) for name in names])


def exchange(mirror: Mirror, prefix: str) -> None:
    """Send what the driver has written, bring what workers have."""
    objects = mirror.objects(prefix)
    folder = mirror.local / prefix
    files = [str(p.relative_to(mirror.local)) for p in folder.rglob("*") if p.is_file()]
    own = [p for p in sorted(files) if not _is_workers(p, prefix) and not _is_passing(p)]
    # The journal last: what it says has happened is then there already.
    own.sort(key=lambda path: path.endswith("study.journal"))
    mirror.push(own, known=objects)
    lock, stop = f"{prefix}/lock.json", f"{prefix}/stop.json"
    if lock in objects and not (mirror.local / lock).exists():
        mirror.delete(lock)
    news = {p: r for p, r in objects.items() if p == stop or _is_news(mirror, p, r, prefix)}
    mirror.pull(news, again=True)
    if stop in news:
        mirror.delete(stop)


def _is_news(mirror: Mirror, path: str, remote: Remote, prefix: str) -> bool:
    """Whether a worker has written this: a small file that is not here, or a log that has grown."""
    if not _is_workers(path, prefix) or path.endswith((".pt", FENCE)):
        return False
    local = mirror.local / path
    return not local.exists() or (path.endswith(LOGS) and remote.size > local.stat().st_size)


def _is_workers(path: str, prefix: str) -> bool:
    return path.startswith(f"{prefix}/trials/") and (
        path.endswith(".pt") or path.rsplit("/", 1)[-1] in WORKERS
    )


def _is_passing(path: str) -> bool:
    """Files of the moment: drafts, locks of this machine, logs of this machine's processes."""
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".") or name.endswith((".tmp", ".lock", ".log")) or name == "stop.json"


def run_anywhere(
    specs: Sequence[TrialSpec],
    folders: Sequence[Path],
    *,
    home: Path,
    attempt: str = "1",
    **options: Any,
) -> Generator[Said, None, None]:
    """`run_crew`, wherever the home is: what an epoch wrote is in the store before it is told.

    home, folders: as the driver calls them; a worker's mirror may lie elsewhere.
    """
    from .crew import run_crew  # with torch (4 s), which who only looks or steers does not need

    there = mirror()
    if there is None:
        yield from run_crew(specs, folders, home=home, attempt=attempt, **options)
        return
    couriers = [Courier(there, str(folder.relative_to(home))) for folder in folders]
    open_anywhere(specs[0].data, home=home)
    here = [courier.here for courier in couriers]
    stream = run_crew(specs, here, home=there.local, attempt=attempt, **options)
    with contextlib.closing(stream):
        for said in stream:
            for courier in couriers:
                courier.send()
            yield said


class Courier:
    """Carries one trial's files between the store and this machine; brings them when it is made.

    here: the trial's folder on this machine.
    """

    def __init__(self, there: Mirror, path: str) -> None:
        self.here = there.local / path
        self._there, self._path = there, path
        self._fence = uuid.uuid4().hex.encode()
        there.write(f"{path}/{FENCE}", self._fence)
        there.pull(_state(there.objects(path)), again=True)

    def send(self) -> None:
        """Send what an epoch wrote; LeaseLost if a later attempt has taken the trial."""
        if self._there.read(f"{self._path}/{FENCE}") != self._fence:
            raise LeaseLost(f"{self._path}: a later attempt has taken the trial")
        self._there.push(_in_order(self.here, self._there.local))


def _state(objects: Mapping[str, Remote]) -> dict[str, Remote]:
    return {p: r for p, r in objects.items() if not p.endswith(f"/{FENCE}")}


def _in_order(folder: Path, root: Path) -> list[str]:
    """What a trial's worker has to send: checkpoints, then the log that says they are there."""
    names = [p for p in folder.iterdir() if p.is_file() and not _is_passing(p.name)]
    names = [p for p in names if p.suffix == ".pt" or p.name in WORKERS]
    names.sort(key=lambda p: (p.suffix != ".pt", p.name in LOGS, p.name))
    return [str(p.relative_to(root)) for p in names]


def open_anywhere(
    block: Mapping[str, Any], *, home: Path, progress: Progress | None = None
) -> Dataset:
    """Open the data of a block: brought from the store if it has them, else sent there."""
    options = options_of(block)
    there = mirror()
    if there is None:
        return open_dataset(block["name"], options, home=home, progress=progress)
    store = f"{there.url}/data"
    return open_dataset(block["name"], options, home=there.local, store=store, progress=progress)


def bring_trial(folder: Path, *, home: Path) -> Path:
    """Bring what the store has of a trial; returns where it lies on this machine."""
    there = mirror()
    if there is None:
        return folder
    path = str(folder.relative_to(home))
    there.pull(_state(there.objects(path)))
    return there.local / path


def send_test(path: Path) -> None:
    """Send a trial's test.json, if the home is in a store."""
    there = mirror()
    if there is not None:
        there.push([str(path.relative_to(there.local))])
