"""What the study keeps of a trial, in Optuna's attributes, and the way back into our types.

Optuna's own state is for the samplers: a trial that must not teach them (a replicate, a baseline
outside of the space) is FAIL there, whatever came of it. How it ended is our `RESULT`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from .space import Point
from .spec import SweepSpec
from .types import Objective, TrialResult, TrialSpec, TrialState

# Attributes of a trial.
CONFIG = "config"  # the three blocks, resolved
PARAMS = "params"  # what was chosen, by dotted path
SEED = "seed"
PRINT = "fingerprint"  # of CONFIG
LABEL = "label"
OUTSIDE = "outside"  # not a point of the space: the sampler must not see it
REPLICATE_OF = "replicate_of"
IMPORTED = "imported_from"  # knowledge of another sweep, no trial of this one
RESULT = "result"

# Attributes of the study.
TARGET = "target"
TARGET_FILE = "target.json"  # the same, for who looks at files alone
PAUSED = "paused"
PAUSED_FILE = "paused.json"  # the same, for who looks at files alone
WALL = "wall_s"
ENDED_FILE = "ended.json"  # why nothing is left to do, and of how many trials; for the same


def epochs_key(number: int) -> str:
    """Attribute of the study: epochs to which a finished trial is to be continued."""
    return f"epochs:{number}"


def reopened(study_attrs: Mapping[str, Any]) -> set[int]:
    """Numbers of the finished trials that are to be continued."""
    prefix = epochs_key(0)[:-1]
    wanted = (k for k, v in study_attrs.items() if k.startswith(prefix) and v is not None)
    return {int(key.removeprefix(prefix)) for key in wanted}


def is_running(trial: FrozenTrial) -> bool:
    """Whether a trial has begun and has not ended, as we see it."""
    return trial.state is OptunaState.RUNNING and RESULT not in trial.user_attrs


def stop_key(number: int) -> str:
    """Attribute of the study: somebody wants the trial stopped."""
    return f"stop:{number}"


def revised_key(number: int) -> str:
    """Attribute of the study: the result of a trial that was continued after it had ended."""
    return f"revised:{number}"


def fingerprint(config: Mapping[str, Any]) -> str:
    """Name a configuration so that two that train alike are one (floats to 6 digits)."""
    return json.dumps(_rounded(config), sort_keys=True, separators=(",", ":"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def attributes(point: Point, seed: int, label: str | None = None) -> dict[str, Any]:
    """Collect the attributes with which a trial begins."""
    attrs = {
        CONFIG: point.config,
        PARAMS: point.params,
        SEED: seed,
        PRINT: fingerprint(point.config),
    }
    return attrs if label is None else {**attrs, LABEL: label}


def trial_spec(
    spec: SweepSpec, trial: FrozenTrial, study_attrs: Mapping[str, Any] | None = None
) -> TrialSpec:
    """Give what `run_trial` is told."""
    config = trial.user_attrs[CONFIG]
    train = config["train"]
    epochs = (study_attrs or {}).get(epochs_key(trial.number))
    return TrialSpec(
        sweep=spec.name,
        number=trial.number,
        data=config["data"],
        model=config["model"],
        # Who asks for more epochs does not want patience to end them at once.
        train=train if epochs is None else {**train, "epochs": epochs, "patience": None},
        objective=spec.objective,
        seed=trial.user_attrs[SEED],
        params=trial.user_attrs[PARAMS],
        replicate_of=trial.user_attrs.get(REPLICATE_OF),
    )


def trial_result(
    trial: FrozenTrial, objective: Objective, study_attrs: Mapping[str, Any]
) -> TrialResult:
    """Say how a trial stands."""
    revised = study_attrs.get(revised_key(trial.number))
    is_again = study_attrs.get(epochs_key(trial.number)) is not None
    if revised is not None and not is_again:
        return TrialResult.from_json(revised)
    attrs = trial.user_attrs
    about = {
        "params": attrs.get(PARAMS, trial.params),
        "replicate_of": attrs.get(REPLICATE_OF),
        "label": attrs.get(LABEL),
    }
    if trial.state is OptunaState.WAITING:
        return TrialResult(number=trial.number, state=TrialState.WAITING, **about)
    if RESULT in attrs:
        result = TrialResult.from_json({**attrs[RESULT], **about})
        if is_again:
            result = dataclasses.replace(result, state=TrialState.RUNNING)
        return result
    best: tuple[int, float] | None = None
    for epoch, value in sorted(trial.intermediate_values.items()):
        if math.isfinite(value) and objective.is_better(value, best[1] if best else None):
            best = (epoch, value)
    # Without a result of ours only another program (optuna-dashboard) can have ended it.
    state = TrialState.FAILED if trial.state.is_finished() else TrialState.RUNNING
    return TrialResult(
        number=trial.number,
        state=state,
        value=best[1] if best else None,
        best_epoch=best[0] if best else None,
        epochs=max(trial.intermediate_values, default=0),
        **about,
    )
