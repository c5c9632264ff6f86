"""How far a sweep has been shipped: `ship.json`, one entry per MLflow store.

Nothing is lost without it: sending again what was sent stores no point twice.
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from pathlib import Path
from typing import Any

from dashboards.record import SweepRecord, TrialRecord
from dashboards.store import default_uri, public
from sweeps.files import read_json, write_json

FILE = "ship.json"


@dataclasses.dataclass(kw_only=True)
class TrialShipped:
    """One trial: its run, the byte and epoch that its metrics are shipped up to, and its stamp."""

    run_id: str
    offset: int = 0
    epoch: int = 0
    stamp: str = ""  # of what is not metrics: state, attempts, result, test figures


@dataclasses.dataclass(kw_only=True)
class Shipped:
    """Everything that one store is known to have."""

    ship_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    experiment_id: str | None = None
    summary_run_id: str | None = None
    summary_ended: int = 0  # trials that had ended when the summary was sent
    summary_stamp: str = ""
    server_version: str | None = None
    view: str | None = None  # the tag that holds the charts
    trials: dict[int, TrialShipped] = dataclasses.field(default_factory=dict)
    refused: list[str] = dataclasses.field(default_factory=list)
    error: str | None = None  # of the last pass; None after a good one
    error_since: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lag:
    """What a store does not have yet.

    lines: epochs not shipped; seconds: age of the oldest of them, 0 if there is none; error: why
    the last try failed, since `error_since` (unix seconds).
    """

    lines: int
    seconds: float
    error: str | None
    error_since: float | None


def load(record: SweepRecord, uri: str) -> Shipped:
    """What `uri` is known to have of the sweep; a fresh start if nothing is known."""
    entry = (read_json(record.folder / FILE) or {}).get(public(uri))
    if entry is None:
        return Shipped()
    known = {f.name for f in dataclasses.fields(Shipped)}
    trials = {int(k): TrialShipped(**v) for k, v in entry.pop("trials").items()}
    return Shipped(**{k: v for k, v in entry.items() if k in known}, trials=trials)


def save(record: SweepRecord, uri: str, shipped: Shipped) -> None:
    """Replace this store's entry, whole or not at all; nothing is written if it is the same."""
    entries: dict[str, Any] = read_json(record.folder / FILE) or {}
    entry = json.loads(json.dumps(dataclasses.asdict(shipped)))
    if entries.get(public(uri)) == entry:
        return
    entries[public(uri)] = entry
    write_json(record.folder / FILE, entries)


def lag(home: Path, name: str, uri: str | None = None) -> Lag:
    """How far behind the store is. Costs a look at each trial's file; never asks the store."""
    record = SweepRecord.of(home, name)
    shipped = load(record, uri or default_uri(home))
    waiting = [_unshipped(trial, shipped) for trial in record.trials()]
    oldest = min((at for _, at in waiting if at is not None), default=None)
    return Lag(
        lines=sum(count for count, _ in waiting),
        seconds=0.0 if oldest is None else max(0.0, time.time() - oldest),
        error=shipped.error,
        error_since=shipped.error_since,
    )


def _unshipped(trial: TrialRecord, shipped: Shipped) -> tuple[int, float | None]:
    known = shipped.trials.get(trial.number)
    offset = known.offset if known else 0
    if not trial.metrics.exists() or trial.metrics.stat().st_size <= offset:
        return 0, None
    first = next(trial.reports(offset), None)
    if first is None:
        return 0, None
    with trial.metrics.open("rb") as file:  # counted, not read: 50,000 lines take 5 s to read
        file.seek(offset)
        return sum(1 for line in file if line.endswith(b"\n")), first[0].time
