"""Trials that are trained further after they have ended."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import FrozenTrial

from sweeps.plural import plural

from . import record
from .errors import StudyError
from .files import write_json
from .ledger import Ledger
from .settling import is_waiting_for_seeds, over_seeds
from .types import TrialResult, TrialState


def reopen(ledger: Ledger, number: int, *, epochs: int, folder: Path) -> None:
    """Have a trial that has ended continued, to so many epochs in all.

    folder: of the trial, whose result.json then says that it runs, with the value that it had.
    Raises StudyError if it has not ended, waits for its other seeds, or has had so many.
    """
    result = ledger.result(number)
    if not result.state.is_finished:
        raise StudyError(f"trial {number} has not ended: `resume` goes on with it.")
    if is_waiting_for_seeds(ledger, number):
        raise StudyError(f"trial {number} waits for its other seeds: `resume` runs them first.")
    if epochs <= result.epochs:
        raise StudyError(f"trial {number} has {plural(result.epochs, 'epoch')}; ask for more.")
    ledger.set(record.stop_key(number), None)  # it was for the run that has ended
    ledger.set(record.epochs_key(number), epochs)
    write_json(folder / "result.json", ledger.result(number).to_json())


def close(ledger: Ledger, trial: FrozenTrial, result: TrialResult) -> None:
    """Keep how a trial that was continued ended; one that failed keeps the result that it had."""
    before = ledger.result(trial.number)
    if result.state is not TrialState.FAILED or before.error is not None:
        judged = over_seeds(ledger, trial, result)
        ledger.set(record.revised_key(trial.number), judged.to_json())
    ledger.set(record.epochs_key(trial.number), None)
