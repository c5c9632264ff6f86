"""What is asked of all trials whenever one starts or ends, without a look at all of them each time.

A trial that Optuna has finished never changes, and one that runs is another object after a change
(its storages copy on write), so a look costs what has changed, however large the sweep is.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import record
from .ledger import Ledger
from .types import TrialResult, TrialState


class Tally:
    """Sums over the trials of a study; `look` brings them up to date.

    known: how many trials there are; prints: their fingerprints. By number: counted, those that use
    up one of the target; running, begun and not ended; waiting, not begun; ended, those of which
    Optuna has not been told that; results, how those did that have ended; failed: of these.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.known = 0
        self.prints: set[str] = set()
        self.counted: set[int] = set()
        self.running: set[int] = set()
        self.waiting: set[int] = set()
        self.ended: set[int] = set()
        self.results: dict[int, TrialResult] = {}
        self.failed: set[int] = set()
        self._ledger = ledger
        self._open: dict[int, FrozenTrial] = {}

    def look(self) -> Sequence[FrozenTrial]:
        """Take in what has changed; gives all trials by number."""
        trials = self._ledger.trials()
        changed = [trials[n] for n, before in self._open.items() if trials[n] is not before]
        for trial in (*changed, *trials[self.known :]):
            self._take(trial)
        self.known = len(trials)
        return trials

    def _take(self, trial: FrozenTrial) -> None:
        number, attrs, is_over = trial.number, trial.user_attrs, trial.state.is_finished()
        self.prints.add(attrs.get(record.PRINT, ""))
        is_running = trial.state is OptunaState.RUNNING
        for numbers, belongs in (
            (self.counted, _counts(trial)),
            (self.running, is_running and record.RESULT not in attrs),
            (self.ended, is_running and record.RESULT in attrs),
            (self.waiting, trial.state is OptunaState.WAITING),
        ):
            (numbers.add if belongs else numbers.discard)(number)
        if record.RESULT in attrs:
            result = self.results[number] = TrialResult.from_json(attrs[record.RESULT])
            if result.state is TrialState.FAILED:
                self.failed.add(number)
        if is_over:
            self._open.pop(number, None)
        else:
            self._open[number] = trial


def _counts(trial: FrozenTrial) -> bool:
    """Not: repeats, failures, what was learned from another sweep."""
    attrs = trial.user_attrs
    if record.REPLICATE_OF in attrs or record.IMPORTED in attrs:
        return False
    if record.RESULT in attrs:
        return bool(attrs[record.RESULT]["state"] != TrialState.FAILED.value)
    return trial.state in (OptunaState.RUNNING, OptunaState.WAITING)
