"""A whole sweep in this process, one trial after the other: for tests and debugging."""

from __future__ import annotations

import time
from pathlib import Path

from s4core.train.process import keep_freed_memory

from .home import sweep_folder
from .lease import SweepLock
from .outcome import Outcome
from .spec import SweepSpec
from .study import Study
from .trial import run_trial
from .types import Finished, SweepEvents, SweepResult, TrialResult, TrialSpec, Waiting

POLL_S = 0.5


def run_inline(spec: SweepSpec, home: Path, events: SweepEvents | None = None) -> SweepResult:
    """Begin the sweep, or go on with it if it exists, and run it to its end."""
    keep_freed_memory()
    folder = sweep_folder(spec.name, home)
    if (folder / "spec.json").exists():
        study = Study.open(spec.name, home)
    else:
        study = Study.create(spec, home)
    with SweepLock(folder):
        study.recover()
        while True:
            asked = study.ask()
            if isinstance(asked, Finished):
                return study.result()
            if isinstance(asked, Waiting):
                time.sleep(POLL_S)
                continue
            if events:
                events.trial_started(asked)
            ended = study.tell(_run(study, asked, home, events))
            if events and ended.state.is_finished:  # not a member between two generations
                events.trial_ended(ended)


def _run(study: Study, spec: TrialSpec, home: Path, events: SweepEvents | None) -> TrialResult:
    outcome = Outcome(study.spec.objectives)
    known = study.ledger.result(spec.number).epochs  # of earlier starts, told again
    try:
        for report in run_trial(spec, study.trial_folder(spec.number), home=home):
            if outcome.add(report) and report.epoch > known and events:
                events.trial_reported(spec.number, report)
            if study.report(spec.number, report):
                return outcome.result(spec, pruned=True)
    except Exception as error:  # whatever a trial raises fails that trial, not the sweep
        return outcome.result(spec, error=f"{type(error).__name__}: {error}")
    return outcome.result(spec)
