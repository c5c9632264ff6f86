"""WHAT to run: spec, space, study, trial. Knows no Ray and no MLflow.

Names are looked up at first use: reading a lock or a metrics file must not cost importing Optuna
and torch (2 to 7 s, 300 MB).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sweeps.errors import LeaseLost, SpecError, StudyError, SweepError, SweepLocked

# At once, since the function has the name of its module, which would be found in its place.
from sweeps.home import home, sweep_folder, sweep_names

if TYPE_CHECKING:
    from sweeps.inline import run_inline
    from sweeps.lease import SweepLock
    from sweeps.outcome import Outcome
    from sweeps.results import open_sweep
    from sweeps.spec import Resources, Search, SweepSpec, load_spec
    from sweeps.study import Study
    from sweeps.trial import run_trial
    from sweeps.types import (
        Finished,
        Objective,
        SweepEvents,
        SweepResult,
        TrialResult,
        TrialSpec,
        TrialState,
        Waiting,
    )

_HOMES = {
    "inline": ("run_inline",),
    "lease": ("SweepLock",),
    "outcome": ("Outcome",),
    "results": ("open_sweep",),
    "spec": ("Resources", "Search", "SweepSpec", "load_spec"),
    "study": ("Study",),
    "trial": ("run_trial",),
    "types": (
        "Finished", "Objective", "SweepEvents", "SweepResult", "TrialResult", "TrialSpec",
        "TrialState", "Waiting",
    ),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

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
    "open_sweep",
    "run_inline",
    "run_trial",
    "sweep_folder",
    "sweep_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sweeps.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
