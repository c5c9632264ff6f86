"""The record of a sweep: the files under `<home>/sweeps/<name>`, read and never written.

Everything that this package shows comes from here, so a dashboard can be rebuilt at any time. A
`metrics.jsonl` is read by byte offset and whole lines only: a line that is still being written is
left for the next look.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from s4core.train.report import EpochReport
from sweeps.files import read_json
from sweeps.home import existing_sweep
from sweeps.lease import driver_of
from sweeps.outcome import Outcome
from sweeps.spec import Search
from sweeps.types import Objective, SweepResult, TrialResult, TrialSpec

__all__ = ["Line", "SweepRecord", "TrialRecord", "read_json", "whole_lines"]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of `metrics.jsonl`.

    time: when (unix seconds) it was written. host: what the epoch took of its machine, by the name
    of the metric.
    """

    report: EpochReport
    time: float
    host: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """The folder of one trial."""

    folder: Path

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return int(self.folder.name)

    @property
    def metrics(self) -> Path:
        """The file of epoch reports, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    def spec(self) -> TrialSpec | None:
        """What the trial was asked to do; None until it has started."""
        data = read_json(self.folder / "spec.json")
        return None if data is None else TrialSpec.from_json(data)

    def result(self) -> TrialResult | None:
        """How the trial ended; None while it has not. Of one that is continued, what it had."""
        data = read_json(self.folder / "result.json")
        return None if data is None else TrialResult.from_json(data)

    def test(self) -> dict[str, float]:
        """Figures on the test split by metric name; empty while nobody has tested the trial."""
        return {k: float(v) for k, v in (read_json(self.folder / "test.json") or {}).items()}

    def data(self) -> dict[str, Any] | None:
        """The data set that was opened: name, fingerprint, rows by split; None before."""
        data: dict[str, Any] | None = read_json(self.folder / "data.json")
        return data

    def attempts(self) -> list[dict[str, Any]]:
        """Each start of the trial: time, host, device, git commit."""
        found = []
        for text, _ in whole_lines(self.folder / "attempts.jsonl", 0):
            with contextlib.suppress(ValueError):  # a line that a kill or a full disk has torn
                found.append(json.loads(text))
        return found

    def reports(self, offset: int = 0) -> Iterator[tuple[Line, int]]:
        """Whole lines from a byte offset on, each with the offset that follows it."""
        for text, after in whole_lines(self.metrics, offset):
            try:
                data = json.loads(text)
                line = Line(
                    report=EpochReport.from_json(data),
                    time=float(data["time"]),
                    host=data.get("host", {}),
                )
            except (ValueError, KeyError, TypeError) as error:
                # A writer that was killed in mid-line and did not cut the torn end off.
                _logger.warning(
                    "%s: skipped the line before byte %d: %s", self.metrics, after, error
                )
                continue
            yield line, after

    def curve(self) -> list[Line]:
        """All reports, one per epoch (the first, should an epoch be there twice), in order."""
        lines: dict[int, Line] = {}
        for line, _ in self.reports():
            lines.setdefault(line.report.epoch, line)
        return [lines[epoch] for epoch in sorted(lines)]

    def standing(self, objectives: Sequence[Objective]) -> TrialResult | None:
        """How the trial ended, or what its curve says so far; None until it has started."""
        kept, spec = self.result(), self.spec()
        if spec is None or (kept is not None and kept.state.is_finished):
            return kept
        now = Outcome.of(objectives, (line.report for line in self.curve())).so_far(spec)
        if kept is None:
            return now
        # Its new value counts when it has ended, and over its seeds if it has several.
        return dataclasses.replace(kept, epochs=now.epochs, seconds=now.seconds)


@dataclasses.dataclass(frozen=True)
class SweepRecord:
    """The folder of one sweep."""

    folder: Path

    @classmethod
    def of(cls, home: Path, name: str) -> SweepRecord:
        """The sweep `name` in `home`; StudyError when there is none."""
        return cls(existing_sweep(name, home))

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.folder.name

    @property
    def home(self) -> Path:
        """The home that the sweep lies in."""
        return self.folder.parent.parent

    def trials(self) -> list[TrialRecord]:
        """The trials that have a folder, by number."""
        root = self.folder / "trials"
        if not root.is_dir():
            return []
        with os.scandir(root) as entries:
            names = [e.name for e in entries if e.name.isdigit()]
        return [TrialRecord(root / name) for name in sorted(names, key=int)]

    def trial(self, number: int) -> TrialRecord:
        """The trial `number`, whether it has a folder yet or not."""
        return TrialRecord(self.folder / "trials" / f"{number:04d}")

    def peaks_mb(self) -> list[float]:
        """The most memory, in MB, that each epoch of each trial held on its device."""
        metrics = (line.report.metrics for trial in self.trials() for line in trial.curve())
        return [m["peak_memory_mb"] for m in metrics if "peak_memory_mb" in m]

    def objectives(self) -> tuple[Objective, ...]:
        """What the sweep is to find, the first moving everything."""
        spec = read_json(self.folder / "spec.json") or {}
        return tuple(Objective(**o) for o in spec.get("objectives", ())) or (Objective(),)

    def is_population(self) -> bool:
        """Whether the settings of a trial change while it is trained."""
        search = (read_json(self.folder / "spec.json") or {}).get("search")
        return search is not None and Search(**search).is_population

    def ended(self) -> SweepResult:
        """The trials that have ended, in the order in which they did; one may be continued."""
        results = [r for r in (trial.result() for trial in self.trials()) if r is not None]
        goals = self.objectives()
        return SweepResult(
            name=self.name,
            objective=goals[0],
            trials=tuple(sorted(results, key=lambda r: r.ended or 0.0)),
            objectives=goals,
        )

    def is_driven(self) -> bool:
        """Whether a driver is at work on the sweep."""
        return driver_of(self.folder) is not None


def whole_lines(path: Path, offset: int) -> Iterator[tuple[str, int]]:
    """Lines that end in a newline from a byte offset on, each with the offset that follows it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            offset += len(raw)
            yield raw[:-1].decode(errors="replace"), offset
