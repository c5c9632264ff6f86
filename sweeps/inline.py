"""A whole sweep in this process, one trial (or crew) after the other: for tests and debugging."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from s4core.train.process import tune_process
from s4core.train.report import EpochReport

from .crew import Crew, Crews, run_crew
from .home import sweep_folder
from .lease import SweepLock
from .spec import SweepSpec
from .study import Study
from .types import Finished, SweepEvents, SweepResult, Waiting

logger = logging.getLogger(__name__)

POLL_S = 0.5


def run_inline(spec: SweepSpec, home: Path, events: SweepEvents | None = None) -> SweepResult:
    """Begin the sweep, or go on with it if it exists, and run it to its end."""
    tune_process()
    folder = sweep_folder(spec.name, home)
    if (folder / "spec.json").exists():
        study = Study.open(spec.name, home)
    else:
        study = Study.create(spec, home)
    with SweepLock(folder):
        study.recover()
        crews = Crews(study)
        begun: set[int] = set()
        while True:
            crew = crews.next()
            if isinstance(crew, Finished):
                return study.result()
            if isinstance(crew, Waiting):
                time.sleep(POLL_S)
                continue
            for member in crew.specs:
                if events and member.number not in begun:
                    events.trial_started(member)
                begun.add(member.number)
            _run(crews, crew, home, events)
            for result in crew.results():
                begun.discard(result.number)
                ended = study.tell(result)
                if events and ended.state.is_finished:  # not a member between two generations
                    events.trial_ended(ended)
            crews.release(crew)


def _run(crews: Crews, crew: Crew, home: Path, events: SweepEvents | None) -> None:
    """Train a crew until one of its trials ends."""
    try:
        with contextlib.closing(run_crew(crew.specs, crew.folders, home=home)) as stream:
            for said in stream:
                for number, word in said:
                    if isinstance(word, EpochReport):
                        if crew.report(number, word) and events:
                            events.trial_reported(number, word)
                    else:
                        crew.fail(number, _text(word))
                if crew.ended:
                    return
    except Exception as error:  # whatever a trial raises fails that trial, not the sweep
        if len(crew.specs) == 1:
            crew.fail(crew.specs[0].number, _text(error))
        else:
            logger.warning("%d trials are not trained as one: %s", len(crew.specs), _text(error))
            crews.broke(crew, type(error).__name__)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
