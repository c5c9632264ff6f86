"""How a sweep stands, read from its files alone: no study is opened, no lock is taken.

So it works beside a running driver, and from any machine that sees the home.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

from dashboards.leaderboard import duration
from dashboards.record import SweepRecord, TrialRecord, read_json
from sweeps.record import ENDED_FILE, PAUSED_FILE, TARGET_FILE
from sweeps.types import SweepResult, TrialState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Counts and the best of one sweep.

    state: running (a driver is at work), paused (it starts nothing new), done (nothing is left to
    do), interrupted. reason: why, if not because all trials are in. changed: unix time of the
    last thing that happened, None without trials.
    """

    name: str
    state: Literal["running", "paused", "done", "interrupted"]
    driven: bool
    host: str | None
    pid: int | None
    done: int
    failed: int
    target: int
    reason: str | None
    changed: float | None
    result: SweepResult

    @property
    def metric(self) -> str:
        """The objective's name."""
        return self.result.objective.metric

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self.result.best.value if self.result.best else None

    @property
    def best_trial(self) -> int | None:
        """The number of the trial that has it."""
        return self.result.best.number if self.result.best else None

    @classmethod
    def of(cls, home: Path, name: str) -> Standing:
        """Read the sweep `name` of `home`; raises StudyError when there is none."""
        sweep = SweepRecord.of(home, name)
        spec: dict[str, Any] = read_json(sweep.folder / "spec.json") or {}
        objectives = sweep.objectives()
        trials = sweep.trials()
        results = tuple(r for r in (t.standing(objectives) for t in trials) if r is not None)
        own = [r for r in results if r.replicate_of is None]
        failed = sum(r.state is TrialState.FAILED for r in own)
        done = sum(r.state.is_finished for r in own) - failed
        target = int(read_json(sweep.folder / TARGET_FILE) or spec["search"]["trials"])
        ended: dict[str, Any] = read_json(sweep.folder / ENDED_FILE) or {}
        reason = ended["reason"] if done < target and ended.get("target") == target else None
        has_all = all(r.state.is_finished for r in results)
        is_done = has_all and (done >= target or reason is not None)
        driven = sweep.is_driven()
        lock: dict[str, Any] = read_json(sweep.folder / "lock.json") or {}
        at_work: Literal["running", "paused"] = (
            "paused" if read_json(sweep.folder / PAUSED_FILE) else "running"
        )
        return cls(
            name=name,
            state=at_work if driven else "done" if is_done else "interrupted",
            driven=driven,
            host=lock.get("host"),
            pid=lock.get("pid"),
            done=done,
            failed=failed,
            target=target,
            reason=reason if is_done and not driven else None,
            changed=_changed(trials),
            result=SweepResult(
                name=name, objective=objectives[0], trials=results, objectives=objectives
            ),
        )

    def last_change(self) -> str:
        """When something last happened, in words."""
        if self.changed is None:
            return "-"
        return f"{duration(max(0.0, time.time() - self.changed))} ago"

    def to_json(self) -> dict[str, Any]:
        """Plain data for programs."""
        plain = dataclasses.asdict(self) | {"best": self.best, "best_trial": self.best_trial}
        plain["result"] = {
            "objective": dataclasses.asdict(self.result.objective),
            "objectives": [dataclasses.asdict(o) for o in self.result.objectives],
            "front": [trial.number for trial in self.result.front],
            "trials": [t.to_json() for t in self.result.trials],
        }
        return plain


def _changed(trials: list[TrialRecord]) -> float | None:
    times = [
        path.stat().st_mtime
        for trial in trials
        for path in (trial.metrics, trial.folder / "result.json", trial.folder / "spec.json")
        if path.exists()
    ]
    return max(times, default=None)
