"""What a study knows before its sampler is asked: enqueued trials, baselines, other sweeps."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from s4core.config import nearest

from . import record
from .blocks import BlockError, complete
from .errors import StudyError
from .home import existing_sweep
from .ledger import Ledger
from .nodes import QUANTILES, Normal, Scalar
from .presets import NoSuchPreset, find_preset
from .space import Misfit, Point, Space
from .spec import SweepSpec
from .types import TrialResult, TrialState


def seed(ledger: Ledger, home: Path) -> None:
    """Write what the spec asks for before the first trial: `from`, then `baselines`.

    Raises StudyError for a sweep that does not exist, or of whose trials none fits.
    """
    for name in ledger.spec.warm_start:
        learn(ledger, open_other(name, home))
    for name in ledger.spec.baselines:
        enqueue_preset(ledger, name)


def enqueue_preset(ledger: Ledger, name: str) -> None:
    """Write a published experiment as a trial that waits, on the data of this sweep.

    Raises StudyError for a name that there is not.
    """
    try:
        preset = find_preset(name)
    except NoSuchPreset as error:
        raise StudyError(str(error)) from error
    data = preset.data if ledger.spec.data_has_ranges else ledger.spec.data
    config = {"data": data, "model": preset.model, "train": preset.train}
    add_configuration(ledger, config, label=name)


def open_other(name: str, home: Path) -> Ledger:
    """Open the study of another sweep, to read."""
    try:
        folder = existing_sweep(name, home)
    except StudyError as error:
        raise StudyError(f"from: {error}") from error
    return Ledger(SweepSpec.kept_in(folder), folder)


def learn(ledger: Ledger, other: Ledger) -> int:
    """Add the finished trials of another sweep as knowledge of the sampler; gives how many.

    Only those whose parameters lie in this space, and whose objectives are the same.
    """
    if [vars(o) for o in other.spec.objectives] != [vars(o) for o in ledger.spec.objectives]:
        raise StudyError(f"from: sweep {other.spec.name!r} has another objective.")
    count = 0
    for trial in other.trials():
        imported = _as_knowledge(ledger.spec, other.spec.name, trial)
        if imported is not None:
            ledger.add(imported)
            count += 1
    if not count:
        raise StudyError(f"from: no finished trial of {other.spec.name!r} lies in this space.")
    return count


def _as_knowledge(spec: SweepSpec, name: str, trial: FrozenTrial) -> FrozenTrial | None:
    attrs = trial.user_attrs
    if record.RESULT not in attrs or record.REPLICATE_OF in attrs or record.IMPORTED in attrs:
        return None
    result = TrialResult.from_json(attrs[record.RESULT])
    if result.state not in (TrialState.COMPLETED, TrialState.STOPPED) or not result.values:
        return None
    try:
        sampled = spec.space.fit(attrs[record.CONFIG])
        point = spec.space.at(sampled)
    except (Misfit, KeyError):
        return None
    return optuna.trial.create_trial(
        state=OptunaState.COMPLETE,
        values=list(result.values),
        params=dict(sampled),
        distributions=dict(point.distributions),
        user_attrs={record.IMPORTED: f"{name}/{trial.number}"},
    )


def add_configuration(ledger: Ledger, config: Mapping[str, Any], *, label: str) -> None:
    """Write a trial that waits, with every value given.

    If it is a point of the space, the sampler learns from it; else it runs beside the search.
    Raises StudyError for blocks that cannot be.
    """
    try:
        whole = complete(config)
    except BlockError as error:
        path = ".".join(map(str, error.path))
        raise StudyError(f"{label}: {path}: {error.message}") from error
    sampled, point = _inside(ledger.spec, config, whole)
    if point is not None:
        attrs = record.attributes(point, ledger.spec.seed, label)
        ledger.enqueue_point(sampled, point, attrs)
        return
    if ledger.spec.search.is_population:
        raise StudyError(f"{label}: no point of this space, and pbt's members are all of one kind.")
    plain: dict[str, Any] = json.loads(json.dumps(config))
    outside = Point(plain, {}, {}, {}, {})
    attrs = {**record.attributes(outside, ledger.spec.seed, label), record.OUTSIDE: True}
    ledger.enqueue({}, attrs)


def _inside(
    spec: SweepSpec, config: Mapping[str, Any], whole: Mapping[str, Any]
) -> tuple[dict[str, Scalar], Point | None]:
    """Find the point of the space that trains as `config` would, if there is one."""
    for candidate in (config, whole):
        try:
            sampled = spec.space.fit(candidate)
            point = spec.space.at(sampled)
        except (Misfit, KeyError):
            continue
        if record.fingerprint(complete(point.config)) == record.fingerprint(whole):
            return sampled, point
    return {}, None


def enqueue(ledger: Ledger, values: Mapping[str, Any], *, label: str) -> None:
    """Write a trial that waits, with some parameters given by dotted path.

    Raises StudyError for a name that is no parameter of the space or a value outside its range.
    """
    ledger.enqueue(fix(ledger.spec.space, values), {record.LABEL: label})


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
            fixed[normals[name].sampled_as] = _quantile(normals[name], value)
            continue
        if name not in distributions:
            drawn = {n.sampled_as for n in normals.values()}
            raise StudyError(_no_parameter(name, sorted({*distributions, *normals} - drawn)))
        fixed[name] = _inside_of(name, distributions[name], value)
    for name in fixed:
        _need_its_block(name, space, fixed)
    return fixed


def _need_its_block(name: str, space: Space, fixed: Mapping[str, Scalar]) -> None:
    """Refuse a value that a trial with these choices need not have, and so would do without."""
    agreeing = [
        point
        for point in space.corners()
        if all(
            point.params.get(other) in (None, value)
            for other, value in fixed.items()
            if isinstance(point.distributions.get(other), CategoricalDistribution)
        )
    ]
    if all(name in point.distributions for point in agreeing):
        return
    has_it = next(point for point in space.corners() if name in point.distributions)
    parents = [other for other in has_it.distributions if name.startswith(f"{other}.")]
    given = " ".join(f"{other}={has_it.params[other]}" for other in parents)
    raise StudyError(f"{name}: not every block has it; give {given} too.")


def _inside_of(name: str, distribution: BaseDistribution, value: Any) -> Scalar:
    """The value of its range that is meant: of 1, 2, 3 that is 2 for 2.0, but none for "2"."""
    is_inside = type(value) in (int, float) or isinstance(distribution, CategoricalDistribution)
    try:
        internal = distribution.to_internal_repr(value)
    except (ValueError, TypeError):
        is_inside = False
    if not is_inside or not distribution._contains(internal):
        raise StudyError(f"{name}: {value!r} is outside of {_range(distribution)}.")
    meant: Scalar = distribution.to_external_repr(internal)
    return meant


def _quantile(normal: Normal, value: Any) -> float:
    try:
        quantile = normal.quantile(float(value))
    except (ValueError, TypeError):
        raise StudyError(f"{normal.name}: wants a number, got {value!r}.") from None
    if not QUANTILES._contains(quantile):
        low, high = normal.value(QUANTILES.low), normal.value(QUANTILES.high)
        raise StudyError(f"{normal.name}: {value!r} is outside of {low:g} to {high:g}.")
    return quantile


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(repr, distribution.choices))
    low, high = getattr(distribution, "low"), getattr(distribution, "high")  # noqa: B009
    return f"{low:g} to {high:g}"


def _no_parameter(name: str, known: list[str]) -> str:
    near = [k for k in known if k.endswith(f".{name.split('.')[-1]}")]
    if near and not difflib.get_close_matches(name, known, n=1, cutoff=0.6):
        return f"no parameter {name!r}: did you mean {' or '.join(repr(k) for k in near)}?"
    return f"no parameter {name!r}: {nearest(name, known)}"
