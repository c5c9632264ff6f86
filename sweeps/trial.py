"""One trial: a generator of epoch reports that depends on its spec and its folder, nothing else.

Starting it again is how it resumes. `s4core.fit` first says again what it has said, then goes on;
`metrics.jsonl` gets the lines that it does not have. A state is on disk before its report is here,
so a kill between the two costs nothing: the next attempt hears the report and adds the line.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import socket
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import data_prep
import s4core
from data_prep.fetch import Progress
from s4core.checkout import git_commit
from s4core.devices import gpu_names
from s4core.train.fit import choose_device
from s4core.train.report import EpochReport

from .files import options_of, write_json
from .host import HostSampler
from .lease import Lease
from .progress import Counted, ProgressFile
from .types import TrialSpec


def run_trial(
    spec: TrialSpec,
    folder: Path,
    *,
    home: Path,
    device: str | None = None,
    attempt: str = "1",
    rank: int = 0,
) -> Generator[EpochReport, None, None]:
    """Train `spec` in `folder`, and yield a report an epoch; those of earlier attempts come first.

    home: where prepared data are. device: None takes a GPU if there is one. attempt: who runs it,
    for people to read. rank: of a process that trains the trial with others (torch.distributed);
    only rank 0 writes, all get the same reports. Raises DataError, ConfigError, s4core.Diverged,
    and LeaseLost when a later attempt has taken the folder.
    """
    desk = Desk(spec, folder, attempt=attempt, device=device) if rank == 0 else None
    data = open_data(spec, home, on_device=choose_device(device).type == "cuda")
    host = HostSampler()
    reports = s4core.fit(
        s4core.model_config(spec.model),
        task_shape(data),
        train_config(spec),
        Counted(data, desk.begin(data, host)) if desk else data,
        folder,
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        seed=spec.seed,
        device=device,
        guard=desk.lease.check if desk else None,
    )
    with host, desk or contextlib.nullcontext():
        for report in reports:
            if desk and desk.lacks(report):
                desk.note(report, host.take())
            yield report


class Desk:
    """The folder of a trial as one attempt keeps it: whose it is, what it is, and its log.

    Making one takes the lease. crowd: how many trials are trained as one, this one included. A
    context manager, which takes away what tells of the moment.
    """

    def __init__(
        self, spec: TrialSpec, folder: Path, *, attempt: str, device: str | None, crowd: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._spec, self._folder = spec, folder
        self._progress: ProgressFile | None = None
        self.lease = Lease(folder, attempt)
        self.lease.take()
        write_json(folder / "spec.json", spec.to_json())
        _log_attempt(folder, attempt, device, crowd)

    def begin(self, data: data_prep.Dataset, host: HostSampler) -> Progress:
        """Note which data the trial reads and open its log; gives who is to be told of batches."""
        rows = {split: described.rows for split, described in data.splits.items()}
        about = {"name": self._spec.data["name"], "fingerprint": data.fingerprint, "rows": rows}
        write_json(self._folder / "data.json", about)
        self._log = MetricsLog(self._folder / "metrics.jsonl")
        self._progress = ProgressFile(self._folder, host.latest)
        return self._progress

    def lacks(self, report: EpochReport) -> bool:
        """Whether the log does not have this epoch."""
        return report.epoch > self._log.epochs

    def note(self, report: EpochReport, usage: Mapping[str, float]) -> None:
        """Add an epoch to the log; `usage` is what it took of the machine."""
        self.lease.check()
        self._log.append(report, usage)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.close()


def train_config(spec: TrialSpec) -> s4core.TrainConfig:
    """The settings of a trial's training."""
    return s4core.from_mapping(s4core.TrainConfig, spec.train, path="train")


def open_data(spec: TrialSpec, home: Path, *, on_device: bool = False) -> data_prep.Dataset:
    """Open (and prepare, if need be) the data of a trial.

    on_device: small integers are scaled after they were moved, for a GPU at the end of a bus.
    """
    options = options_of(spec.data)
    return data_prep.open_dataset(spec.data["name"], options, home=home, on_device=on_device)


def task_shape(data: data_prep.Dataset) -> s4core.TaskShape:
    """Say to a model what a data set is like."""
    return s4core.TaskShape(**data.task.__dict__)


class MetricsLog:
    """metrics.jsonl: one line an epoch, 1, 2, 3, ... without a gap or a repeat.

    Opening it cuts off what a kill left of a last line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.epochs = 0
        if not path.exists():
            return
        whole = 0
        with open(path, "rb+") as file:
            for line in file:
                if not line.endswith(b"\n") or not self._is_next(line):
                    break
                whole += len(line)
                self.epochs += 1
            file.truncate(whole)

    def append(self, report: EpochReport, host: Mapping[str, float] | None = None) -> None:
        """Add a line and see it to the disk; `host` is what the epoch took of the machine."""
        assert report.epoch == self.epochs + 1, f"epoch {report.epoch} after {self.epochs}"
        about = {"host": dict(host or {}), "time": time.time()}
        line = json.dumps({**report.to_json(), **about}) + "\n"
        with open(self._path, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self.epochs = report.epoch

    def _is_next(self, line: bytes) -> bool:
        try:
            return bool(json.loads(line)["epoch"] == self.epochs + 1)
        except (ValueError, KeyError, TypeError):
            return False


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Give the lines of a trial's metrics.jsonl (whole ones only); [] if there are none."""
    try:
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _log_attempt(folder: Path, attempt: str, device: str | None, crowd: int) -> None:
    chosen = choose_device(device)
    gpus = gpu_names() if chosen.type == "cuda" else []
    about = {
        "time": time.time(),
        "attempt": attempt,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": str(chosen),
        "gpu": gpus[chosen.index or 0] if gpus else None,
        "crowd": crowd,
        "git_commit": git_commit(),
        "version": importlib.metadata.version("s4sweep"),
    }
    with open(folder / "attempts.jsonl", "ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read() not in (b"", b"\n")  # by a kill, or a disk that filled up
        file.write(b"\n" * torn + json.dumps(about).encode() + b"\n")
