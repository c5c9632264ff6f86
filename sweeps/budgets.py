"""When a sweep is done: trials, failures, hours, GPU hours, no improvement."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import record
from .ledger import Ledger
from .types import TrialResult, TrialState


def failed(ledger: Ledger) -> str | None:
    """Say whether too many trials have failed to go on."""
    limit = ledger.spec.search.max_failures
    results = [r for r in _own_results(ledger.trials()) if r.state is TrialState.FAILED]
    if len(results) <= limit:
        return None
    return f"{len(results)} trials failed (max_failures: {limit}); the last: {results[-1].error}"


def spent(ledger: Ledger, wall_s: float) -> str | None:
    """Say which budget for new configurations is used up; None while there is some left."""
    search, trials = ledger.spec.search, ledger.trials()
    results = _own_results(trials)
    target = int(ledger.attrs().get(record.TARGET, search.trials))
    if sum(1 for t in trials if _counts(t)) >= target:
        return f"{target} trials"
    if search.wall_hours is not None and wall_s >= search.wall_hours * 3600:
        return f"{search.wall_hours} hours"
    if search.gpu_hours is not None:
        gpus = ledger.spec.resources.gpus * ledger.spec.resources.workers
        used = sum(r.seconds for r in results) * gpus / 3600
        if used >= search.gpu_hours:
            return f"{search.gpu_hours} GPU hours"
    if search.no_improvement is not None and len(ledger.spec.objectives) == 1:
        since = _since_best(ledger, results)
        if since >= search.no_improvement:
            return f"no improvement in {since} trials"
    return None


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial uses up one of the target: not replicates, failures, imported knowledge."""
    attrs = trial.user_attrs
    if record.REPLICATE_OF in attrs or record.IMPORTED in attrs:
        return False
    if record.RESULT in attrs:
        return bool(attrs[record.RESULT]["state"] != TrialState.FAILED.value)
    return trial.state in (OptunaState.RUNNING, OptunaState.WAITING)


def _own_results(trials: Iterable[FrozenTrial]) -> list[TrialResult]:
    return [
        TrialResult.from_json(t.user_attrs[record.RESULT])
        for t in trials
        if record.RESULT in t.user_attrs and record.IMPORTED not in t.user_attrs
    ]


def _since_best(ledger: Ledger, results: list[TrialResult]) -> int:
    """Count the trials that ended after the best one did."""
    best: float | None = None
    since = 0
    for result in sorted(results, key=lambda r: r.ended or 0.0):
        if result.state is TrialState.FAILED or result.replicate_of is not None:
            continue
        if result.value is not None and ledger.spec.objective.is_better(result.value, best):
            best, since = result.value, 0
        else:
            since += 1
    return since
