"""WHAT to run: spec, space, study, trial. Knows no Ray and no MLflow."""

from .errors import LeaseLost, SpecError, StudyError, SweepError, SweepLocked
from .home import home, sweep_folder, sweep_names
from .inline import run_inline
from .lease import SweepLock
from .outcome import Outcome
from .spec import Resources, Search, SweepSpec, load_spec
from .study import Study
from .trial import run_trial
from .types import (
    Finished,
    Objective,
    SweepEvents,
    SweepResult,
    TrialResult,
    TrialSpec,
    TrialState,
    Waiting,
)

__all__ = [
    "Finished",
    "LeaseLost",
    "Objective",
    "Outcome",
    "Resources",
    "Search",
    "SpecError",
    "Study",
    "StudyError",
    "SweepError",
    "SweepEvents",
    "SweepLock",
    "SweepLocked",
    "SweepResult",
    "SweepSpec",
    "TrialResult",
    "TrialSpec",
    "TrialState",
    "Waiting",
    "home",
    "load_spec",
    "run_inline",
    "run_trial",
    "sweep_folder",
    "sweep_names",
]
