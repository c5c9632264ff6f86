"""What Ray Tune runs on a worker: one actor that trains a trial (or a crew) after the other.

Nothing that a trial does wrong leaves this file as an exception: an error of the trial's own is a
result (`failure`), so that Tune's budget of failures counts lost workers and nodes only. A storage
that is away (full, read-only, unreachable) is waited for, because starting a trial again is how it
resumes.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from ray import tune

from cluster.gang import Gang, LostHelper
from cluster.outages import Patience
from s4core.train.report import EpochReport
from sweeps import LeaseLost
from sweeps.types import TrialSpec

if TYPE_CHECKING:
    from s4core import Diverged
    from sweeps.crew import Said

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One trial, or several to be trained as one, as they travel to a worker; plain data.

    specs, folders: one a trial. threads: CPU threads; device: "cpu" for one that was given no GPU
    (it would else take one that it sees); gpu_fraction: share of the GPU's memory, in (0, 1];
    memory_gb: resident memory at which it is failed (None: no limit); patience_s: how long an
    outage of the storage is waited for; workers: processes that train one trial together.
    """

    specs: tuple[TrialSpec, ...]
    folders: tuple[str, ...]
    home: str
    threads: int = 1
    device: str | None = None
    gpu_fraction: float = 1.0
    memory_gb: float | None = None
    patience_s: float = 600.0
    workers: int = 1

    def to_text(self) -> str:
        """One line of JSON; `from_text` is the inverse."""
        return json.dumps({**vars(self), "specs": [spec.to_json() for spec in self.specs]})

    @classmethod
    def from_text(cls, text: str) -> Job:
        """Read what `to_text` wrote."""
        data = json.loads(text)
        specs = tuple(map(TrialSpec.from_json, data["specs"]))
        return cls(**{**data, "specs": specs, "folders": tuple(data["folders"])})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial failed. signature: equal for the same error at the same place of the code."""

    error: str
    signature: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception in one line."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        kind = type(error).__name__
        text = " ".join(str(error).split())[:500]
        where = f" ({place})" if frames else ""  # none for one that was told and not raised
        return cls(error=f"{kind}: {text}{where}", signature=f"{kind} at {place}")

    @property
    def kind(self) -> str:
        """Name of the exception's class."""
        return self.signature.split(" ")[0]


# What the trials of a job say after an epoch, by number.
Words = list[tuple[int, EpochReport | Failure]]


def to_message(said: Words) -> dict[str, Any]:
    """What Ray Tune carries from a worker to its driver; `from_message` is the inverse."""
    reports = [(n, word.to_json()) for n, word in said if isinstance(word, EpochReport)]
    failures = [(n, vars(word)) for n, word in said if isinstance(word, Failure)]
    return {"said": json.dumps({"reports": reports, "failures": failures}), "done": ends(said)}


def ends(said: Words) -> bool:
    """Whether one of the trials has ended, so that the job is over."""
    return any(isinstance(word, Failure) or word.stopped_by is not None for _, word in said)


def from_message(message: dict[str, Any]) -> Words:
    """Read what `to_message` wrote: reports in their order, then failures."""
    said = json.loads(message["said"])
    words: Words = [(number, EpochReport.from_json(data)) for number, data in said["reports"]]
    return words + [(number, Failure(**data)) for number, data in said["failures"]]


class TrialActor(tune.Trainable):  # type: ignore[misc]  # ray has no type information
    """Ray Tune's trainable: one step is one epoch; kept and reset from job to job."""

    def setup(self, config: dict[str, Any]) -> None:
        """Called once a process, with the first trial."""
        self._stream: Generator[Said, None, None] | None = None
        self._gang: Gang | None = None
        self._guard = MemoryGuard()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called with each further trial."""
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Called when the trial was stopped and the process is not kept."""
        self._end()

    def step(self) -> dict[str, Any]:
        """Train one epoch; what is returned of it is on disk."""
        assert self._stream is not None
        try:
            with self._guard.watch(self._job.memory_gb):
                said = next(self._stream)
        except StopIteration:
            failure = Failure(error="ended without a last report", signature="no last report")
        except Exception as first:
            error = self._gang.verdict(first) if self._gang else first
            if isinstance(error, LostHelper | LeaseLost):
                self._end()
                raise error from first  # for Tune: a loss, and no failure of the trial's own
            self._keep_traceback(error)
            failure = Failure.of(error)
        else:
            message = to_message([(number, self._word(number, word)) for number, word in said])
            if message["done"]:
                self._end()
            return message
        self._end()
        return {"failure": json.dumps(dataclasses.asdict(failure)), "done": True}

    def _word(self, number: int, word: EpochReport | Diverged) -> EpochReport | Failure:
        if isinstance(word, EpochReport):
            return word
        numbers = [spec.number for spec in self._job.specs]
        _write_traceback(Path(self._job.folders[numbers.index(number)]), word)
        return Failure.of(word)

    def _keep_traceback(self, error: Exception) -> None:
        if len(self._job.folders) == 1:
            _write_traceback(Path(self._job.folders[0]), error)
        else:  # whose fault it is, they find out alone
            logger.warning("trials that were trained as one failed", exc_info=error)

    def _begin(self, config: dict[str, Any]) -> None:
        from s4core.train.process import reset_process  # import torch takes 2 s

        self._end()
        self._job = Job.from_text(config["job"])
        reset_process(threads=self._job.threads, gpu_fraction=self._job.gpu_fraction)
        self._stream = through_outages(self._job, start=self._start)

    def _start(self) -> Generator[Said, None, None]:
        """What the trials say from here on; again after an outage of their storage."""
        if self._job.workers == 1:
            return one_attempt(self._job)
        if self._gang is not None:  # its helpers wait for a rank 0 that has left
            self._gang.close()
        self._gang = Gang(self._job, self._job.workers)
        return self._gang.words()

    def _end(self) -> None:
        if self._gang is not None:
            self._gang.close()  # first: rank 0 may wait for the others when it leaves
            self._gang = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def one_attempt(job: Job) -> Generator[Said, None, None]:
    """What the trials of a job say when this process alone trains them."""
    from sweeps.remote_home import run_anywhere

    return run_anywhere(
        job.specs,
        [Path(folder) for folder in job.folders],
        home=Path(job.home),
        attempt=uuid.uuid4().hex,
        device=job.device,
    )


def through_outages(
    job: Job,
    *,
    start: Callable[[], Generator[Said, None, None]],
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Said, None, None]:
    """What the trials say, each epoch once, started again as long as their storage is away."""
    seen: dict[int, int] = {}
    patience = Patience(job.patience_s, sleep=sleep)
    while True:
        stream = start()
        try:
            for said in stream:
                news = [(n, word) for n, word in said if word.epoch > seen.get(n, 0)]
                if news:
                    seen.update({n: word.epoch for n, word in news})
                    patience.renew()
                    yield news
            return
        except OSError as error:
            if not patience.wait(error):
                if error.filename is not None:
                    raise
                raise OSError(error.errno, error.strerror, job.folders[0]) from error
        finally:
            # Only an attempt that is told to end is open here. What it has said is on disk; to take
            # away .progress.json may fail while the storage is away: no reason to wait for it, and
            # none to start another attempt.
            with contextlib.suppress(OSError):
                stream.close()


class TooMuchMemory(MemoryError):
    """Raised in the training thread, where only a class can be thrown: the text is its own."""

    def __str__(self) -> str:
        return "the trial outgrew resources.memory_gb; lower train.batch_size or raise the limit"


class MemoryGuard:
    """Fails a trial that outgrows its memory, before the machine picks somebody else to kill.

    A thread looks at the resident set twice a second and raises TooMuchMemory in the training
    thread; Ray's own monitor was seen to kill the innocent neighbour first.
    """

    def __init__(self, interval_s: float = 0.5) -> None:
        self._interval_s = interval_s

    @contextlib.contextmanager
    def watch(self, limit_gb: float | None) -> Iterator[None]:
        """Watch the calling thread inside the block; limit_gb None watches nothing."""
        if limit_gb is None:
            yield
            return
        done = threading.Event()
        target = threading.get_ident()
        watcher = threading.Thread(
            target=self._loop, args=(done, target, limit_gb * 1e9), daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _loop(self, done: threading.Event, target: int, limit: float) -> None:
        process = psutil.Process()
        while not done.wait(self._interval_s):
            if process.memory_info().rss > limit:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(target), ctypes.py_object(TooMuchMemory)
                )
                return


def _write_traceback(folder: Path, error: BaseException) -> None:
    """Write error.txt beside the trial's other files; a storage that is away is no second error."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(traceback.format_exception(error))
        (folder / "error.txt").write_text(text)
