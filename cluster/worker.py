"""What Ray Tune runs on a worker: one actor that iterates `run_trial`, trial after trial.

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
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
from ray import tune

from cluster.gang import Gang, LostHelper
from cluster.outages import Patience
from s4core.train.report import EpochReport
from sweeps import LeaseLost
from sweeps.types import TrialSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One trial as it travels to a worker; plain data.

    threads: CPU threads; device: "cpu" for a trial that was given no GPU (it would else take one
    that it sees); gpu_fraction: share of the GPU's memory, in (0, 1]; memory_gb: resident memory
    at which the trial is failed (None: no limit); patience_s: how long an outage of the storage is
    waited for; workers: processes that train the trial together.
    """

    spec: TrialSpec
    folder: str
    home: str
    threads: int = 1
    device: str | None = None
    gpu_fraction: float = 1.0
    memory_gb: float | None = None
    patience_s: float = 600.0
    workers: int = 1

    def to_text(self) -> str:
        """One line of JSON; `from_text` is the inverse."""
        return json.dumps({**vars(self), "spec": self.spec.to_json()})

    @classmethod
    def from_text(cls, text: str) -> Job:
        """Read what `to_text` wrote."""
        data = json.loads(text)
        return cls(**{**data, "spec": TrialSpec.from_json(data["spec"])})


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
        return cls(error=f"{kind}: {text} ({place})", signature=f"{kind} at {place}")


class TrialActor(tune.Trainable):  # type: ignore[misc]  # ray has no type information
    """Ray Tune's trainable: one step is one epoch; kept and reset from trial to trial."""

    def setup(self, config: dict[str, Any]) -> None:
        """Called once a process, with the first trial."""
        self._reports: Generator[EpochReport, None, None] | None = None
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
        """Train one epoch; the report is on disk when it is returned."""
        assert self._reports is not None
        try:
            with self._guard.watch(self._job.memory_gb):
                report = next(self._reports)
        except StopIteration:
            failure = Failure(error="ended without a last report", signature="no last report")
        except Exception as first:
            error = self._gang.verdict(first) if self._gang else first
            if isinstance(error, LostHelper | LeaseLost):
                self._end()
                raise error from first  # for Tune: a loss, and no failure of the trial's own
            _keep_traceback(Path(self._job.folder), error)
            failure = Failure.of(error)
        else:
            return {
                "report": json.dumps(report.to_json()),
                "done": report.stopped_by is not None,
            }
        self._end()
        return {"failure": json.dumps(dataclasses.asdict(failure)), "done": True}

    def _begin(self, config: dict[str, Any]) -> None:
        from s4core.train.process import reset_process  # import torch takes 2 s

        self._end()
        self._job = Job.from_text(config["job"])
        if self._job.workers > 1:
            self._gang = Gang(self._job, self._job.workers)
            self._reports = self._gang.reports()
            return
        reset_process(threads=self._job.threads, gpu_fraction=self._job.gpu_fraction)
        self._reports = through_outages(self._job)

    def _end(self) -> None:
        if self._gang is not None:
            self._gang.close()  # first: rank 0 may wait for the others when it leaves
            self._gang = None
        if self._reports is not None:
            self._reports.close()
            self._reports = None


def through_outages(
    job: Job, sleep: Callable[[float], None] = time.sleep
) -> Generator[EpochReport, None, None]:
    """The reports of a trial, each epoch once, started again as long as its storage is away."""
    from sweeps.remote_home import run_anywhere

    seen = 0
    patience = Patience(job.patience_s, sleep=sleep)
    while True:
        stream = run_anywhere(
            job.spec,
            Path(job.folder),
            home=Path(job.home),
            attempt=uuid.uuid4().hex,
            device=job.device,
        )
        try:
            with contextlib.closing(stream):
                for report in stream:
                    if report.epoch > seen:
                        seen = report.epoch
                        patience.renew()
                        yield report
            return
        except OSError as error:
            if not patience.wait(error):
                if error.filename is not None:
                    raise
                raise OSError(error.errno, error.strerror, job.folder) from error


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


def _keep_traceback(folder: Path, error: BaseException) -> None:
    """Write error.txt beside the trial's other files; a storage that is away is no second error."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(traceback.format_exception(error))
        (folder / "error.txt").write_text(text)
