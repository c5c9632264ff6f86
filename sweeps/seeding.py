"""What a study knows before its sampler is asked: enqueued trials, baselines, other sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from s4core.config import nearest

from . import record
from .errors import StudyError
from .ledger import Ledger
from .nodes import Normal, Scalar
from .space import Space


def seed(ledger: Ledger, home: Path) -> None:
    """Write what the spec asks for before the first trial: `from` and `baselines`."""


def enqueue(ledger: Ledger, values: Mapping[str, Any], *, label: str) -> None:
    """Write a trial that waits, with some parameters given by dotted path.

    Raises StudyError for a name that is no parameter of the space or a value outside its range.
    """
    fixed = fix(ledger.spec.space, values)
    ledger.enqueue(fixed, {record.LABEL: label})


def fix(space: Space, values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Check the values of parameters and give them as they are sampled."""
    distributions: dict[str, BaseDistribution] = {}
    normals: dict[str, Normal] = {}
    for point in space.corners():
        distributions.update(point.distributions)
        normals.update(point.normals)
    fixed: dict[str, Scalar] = {}
    for name, value in values.items():
        if name in normals:
            fixed[normals[name].sampled_as] = normals[name].quantile(float(value))
            continue
        if name not in distributions:
            raise StudyError(f"no parameter {name!r}: {nearest(name, distributions)}")
        distribution = distributions[name]
        try:
            is_inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            is_inside = False
        if not is_inside:
            raise StudyError(f"{name}: {value!r} is outside of {distribution}.")
        fixed[name] = value
    return fixed
