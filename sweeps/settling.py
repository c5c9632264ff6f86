"""What follows from a trial's end: Optuna is told, repeats are started, their mean is taken.

Every step looks at what is written and adds what is missing, so that a driver killed between two
of them leaves nothing that the next one does not finish.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import record
from .ledger import Ledger
from .types import TrialResult, TrialState

GOOD = (TrialState.COMPLETED, TrialState.STOPPED)
EARLY = (TrialState.PRUNED, TrialState.CUT)


def settle(ledger: Ledger, ended: Sequence[FrozenTrial], sampler: BaseSampler) -> list[TrialResult]:
    """Finish in Optuna trials that have ended; gives the results that changed by a mean."""
    changed: list[TrialResult] = []
    ledger.optuna.sampler = sampler  # some samplers keep their state when a trial ends
    for trial in ended:
        result = TrialResult.from_json(trial.user_attrs[record.RESULT])
        is_leader = record.REPLICATE_OF not in trial.user_attrs
        if is_leader and ledger.spec.repeat > 1 and result.state in GOOD:
            mean = _repeat(ledger, trial, result)
            if mean is None:
                continue
            result = mean
            changed.append(mean)
        _tell(ledger, trial, result)
    return changed


def _repeat(ledger: Ledger, leader: FrozenTrial, result: TrialResult) -> TrialResult | None:
    """Enqueue the other seeds of a configuration, or take the mean once all have ended."""
    followers = _followers(ledger, leader)
    there = {t.user_attrs[record.SEED] for t in followers}
    first = leader.user_attrs[record.SEED]
    kept = {k: leader.user_attrs[k] for k in (record.CONFIG, record.PARAMS)}
    for seed in range(first + 1, first + ledger.spec.repeat):
        if seed not in there:
            about = {record.SEED: seed, record.REPLICATE_OF: leader.number}
            ledger.enqueue({}, {**kept, **about})
    if len(there) < ledger.spec.repeat - 1:
        return None
    if any(record.RESULT not in t.user_attrs for t in followers):
        return None
    mean = _mean(result, followers)
    ledger.set_trial(leader, record.RESULT, mean.to_json())
    return mean


def over_seeds(ledger: Ledger, leader: FrozenTrial, result: TrialResult) -> TrialResult:
    """What a leader that was continued is judged by: its new result and those of its repeats."""
    followers = _followers(ledger, leader)
    return _mean(result, followers) if followers and result.values else result


def is_waiting_for_seeds(ledger: Ledger, number: int) -> bool:
    """Whether the mean over a configuration's seeds is still to be taken."""
    trial = ledger.trial(number)
    if ledger.spec.repeat == 1 or record.REPLICATE_OF in trial.user_attrs:
        return False
    result = TrialResult.from_json(trial.user_attrs[record.RESULT])
    return result.state in GOOD and not result.repeats


def _followers(ledger: Ledger, leader: FrozenTrial) -> list[FrozenTrial]:
    return [t for t in ledger.trials() if t.user_attrs.get(record.REPLICATE_OF) == leader.number]


def _mean(result: TrialResult, followers: Sequence[FrozenTrial]) -> TrialResult:
    others = [TrialResult.from_json(t.user_attrs[record.RESULT]) for t in followers]
    good = [result, *(r for r in others if r.state in GOOD and r.values)]
    means = tuple(
        math.fsum(r.values[i] for r in good) / len(good) for i in range(len(result.values))
    )
    repeats = tuple(r.values[0] for r in good)
    return dataclasses.replace(result, value=means[0], values=means, repeats=repeats)


def _tell(ledger: Ledger, trial: FrozenTrial, result: TrialResult) -> None:
    attrs = trial.user_attrs
    if attrs.get(record.OUTSIDE) or record.REPLICATE_OF in attrs:
        ledger.optuna.tell(trial.number, state=OptunaState.FAIL)
    elif result.state in EARLY and len(ledger.spec.objectives) == 1:
        ledger.optuna.tell(trial.number, state=OptunaState.PRUNED)
    elif result.state in GOOD and result.values:
        ledger.optuna.tell(trial.number, list(result.values))
    else:
        ledger.optuna.tell(trial.number, state=OptunaState.FAIL)
