"""How much each parameter mattered: fANOVA over what the trials came to, with its uncertainty.

The share of the variance of the objective that a parameter explains alone, by a forest grown on the
trials (F. Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", ICML
2014, as Optuna has it). A handful of trials says little, so each figure comes with its spread over
resampled trials.
"""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

LEAST = 4  # trials below which a forest says nothing
MOST = 250  # trials a forest is grown on; more take long and say the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importance:
    """The share (0 to 1) of the variance that one parameter explains, and its standard deviation.

    trials: how many had the parameter; a parameter of one alternative is judged among those.
    """

    name: str
    share: float
    spread: float
    trials: int


def importances(
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    *,
    logs: Collection[str] = (),
    resamples: int = 8,
    seed: int = 0,
) -> list[Importance]:
    """Rate the parameters of trials, most important first.

    rows: the chosen parameters of each trial, which need not all have the same; values: its
    objective, finite. logs: names that were searched on a logarithmic scale. Parameters that never
    varied are left out; [] if there are too few trials.
    """
    if len(rows) != len(values):
        raise ValueError(f"need a value for each trial, got {len(values)} for {len(rows)}.")
    found: list[Importance] = []
    for names, members in _groups(rows):
        group = [(rows[i], values[i]) for i in members]
        varied = {n: d for n in names if (d := _distribution(n, [r[n] for r, _ in group], logs))}
        if len(group) < LEAST or not varied or len({v for _, v in group}) < 2:
            continue
        shares = _resampled(group, varied, resamples, random.Random(seed))
        for name in varied:
            if all(f.name != name for f in found):
                drawn = [share[name] for share in shares]
                mean, spread = statistics.fmean(drawn), statistics.stdev(drawn)
                item = Importance(name=name, share=mean, spread=spread, trials=len(group))
                found.append(item)
    return sorted(found, key=lambda item: (-item.share, item.name))


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], list[int]]]:
    """Parameters that the same trials have, with those trials; what most trials have first."""
    owners: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        for name in row:
            owners.setdefault(name, []).append(i)
    sets = sorted({tuple(members) for members in owners.values()}, key=lambda m: -len(m))
    # A group is judged together with the parameters that all of its trials have anyway.
    return [
        (sorted(n for n, have in owners.items() if set(members) <= set(have)), list(members))
        for members in sets
    ]


def _distribution(
    name: str, values: Sequence[Any], logs: Collection[str]
) -> BaseDistribution | None:
    """The range that the values span; None if they are all the same."""
    different = list(dict.fromkeys(_plain(v) for v in values))
    if len(different) < 2:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in different):
        return CategoricalDistribution(different)
    log = name in logs and min(different) > 0
    if all(isinstance(v, int) for v in different):
        return IntDistribution(min(different), max(different), log=log)
    return FloatDistribution(float(min(different)), float(max(different)), log=log)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) or value is None else repr(value)


def _resampled(
    group: Sequence[tuple[Mapping[str, Any], float]],
    varied: Mapping[str, BaseDistribution],
    resamples: int,
    rng: random.Random,
) -> list[dict[str, float]]:
    """The shares on samples of the trials, with repetition; one without variance is drawn anew."""
    shares: list[dict[str, float]] = []
    size = min(len(group), MOST)
    while len(shares) < resamples:
        sample = rng.choices(group, k=size)
        if len({value for _, value in sample}) < 2:
            continue
        shares.append(_shares(sample, varied, seed=rng.randrange(2**31)))
    return shares


def _shares(
    sample: Sequence[tuple[Mapping[str, Any], float]],
    varied: Mapping[str, BaseDistribution],
    seed: int,
) -> dict[str, float]:
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        study.add_trials(
            optuna.trial.create_trial(
                params={name: _typed(row[name], d) for name, d in varied.items()},
                distributions=dict(varied),
                value=value,
            )
            for row, value in sample
        )
        judge = optuna.importance.FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=seed)
        rated = optuna.importance.get_param_importances(
            study, evaluator=judge, params=list(varied), normalize=False
        )
    return {name: _finite(rated.get(name, 0.0)) for name in varied}


def _typed(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        return float(value)
    return _plain(value)


def _finite(share: float) -> float:
    return float(share) if math.isfinite(share) else 0.0


class _quiet:
    """Keep Optuna from telling of each of these passing studies."""

    def __enter__(self) -> None:
        self._before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def __exit__(self, *error: object) -> None:
        optuna.logging.set_verbosity(self._before)
