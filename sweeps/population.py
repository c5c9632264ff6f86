"""Population based training over the study: the members' generations, and who takes over whom.

A member is a trial that is handed out once a generation, each time with more epochs; between two
generations it is RUNNING in the study and nobody's. What a generation decides is written first;
then the checkpoints are copied; then it is marked as done; only then any member goes on. A driver
killed anywhere in between copies again from checkpoints that have not moved.
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

import s4core

from . import record
from .expressions import Expression
from .files import options_of
from .ledger import Ledger
from .nodes import Scalar
from .proposals import TRIES, is_allowed
from .samplers.pbt import Options
from .space import random_suggest
from .types import TrialResult, TrialSpec, TrialState

SEGMENT = "segment"  # generations that a member has ended
BROKEN = "broken"  # the error of a member that failed in its last generation
LINEAGE = "lineage"  # whom it took over, when, and with what
SAMPLED = "sampled"  # settings of a member now, as they are sampled

CHECKPOINTS = ("last.pt", "best.pt")


class Population:
    """The members of one sweep."""

    def __init__(self, ledger: Ledger, options: Options, folder_of: Callable[[int], Path]) -> None:
        self._ledger = ledger
        self._options = options
        self._folder_of = folder_of
        self._where = [Expression(text) for text in ledger.spec.where]

    def ready(self, issued: Collection[int], *, is_complete: bool) -> FrozenTrial | None:
        """Give a member that may go on; None if all wait for others (or there is none).

        is_complete: all members have begun; nobody takes over anybody before.
        """
        members = [t for t in self._ledger.trials() if record.is_running(t)]
        if not members:
            return None
        generation = min(_segments(t) for t in members)
        waiting = [t for t in members if _segments(t) == generation and t.number not in issued]
        if not waiting or (generation > 0 and not is_complete):
            return None
        is_even = generation > 0 and all(_segments(t) == generation for t in members)
        if is_even and not self._settle(generation, members):
            return None
        free = [t for t in self._ledger.trials() if t.number in {w.number for w in waiting}]
        return next((t for t in free if record.is_running(t)), None)

    def spec(self, trial: FrozenTrial) -> TrialSpec:
        """Say what a member does in its next generation."""
        spec = record.trial_spec(self._ledger.spec, trial)
        total = self._epochs(trial)
        epochs = min((_segments(trial) + 1) * self._options.interval, total)
        horizon = spec.train.get("schedule_epochs") or total
        train = {**spec.train, "epochs": epochs, "schedule_epochs": horizon, "patience": None}
        lineage = trial.user_attrs.get(LINEAGE, [])
        moved = lineage and lineage[-1]["generation"] == _segments(trial)
        taken_over = lineage[-1]["from"] if moved else None
        return dataclasses.replace(spec, train=train, taken_over=taken_over)

    def ended(self, trial: FrozenTrial, result: TrialResult) -> bool:
        """Note that a member has ended its generation; False if that was its last."""
        is_good = result.state in (TrialState.COMPLETED, TrialState.STOPPED)
        segment = _segments(trial) + 1
        is_last = segment * self._options.interval >= self._epochs(trial)
        if is_last or not (is_good or result.state is TrialState.FAILED):
            return False
        if not is_good:
            self._ledger.set_trial(trial, BROKEN, result.error or "failed")
        self._ledger.set_trial(trial, SEGMENT, segment)
        return True

    def _epochs(self, trial: FrozenTrial) -> int:
        given = trial.user_attrs[record.CONFIG]["train"].get("epochs")
        return given if isinstance(given, int) else s4core.TrainConfig().epochs

    def _settle(self, generation: int, members: Sequence[FrozenTrial]) -> bool:
        """Let the worst take over the best; False if there is nobody to take over."""
        key = f"generation:{generation}"
        noted = self._ledger.attrs().get(key)
        newest = max(member.number for member in members)
        if noted is None or (noted["done"] and noted["newest"] < newest):  # by an extension
            moves = self._decide(generation, members)
            noted = {"moves": moves, "newest": newest, "done": False}
            self._ledger.set(key, noted)
        if noted["done"]:
            return True
        by_number = {t.number: t for t in members}
        for number, move in noted["moves"].items():
            member = by_number.get(int(number))
            if member is None:  # its end was written before the driver was killed
                continue
            if move["from"] is None:  # nobody is left who could be taken over
                error = member.user_attrs[BROKEN]
                result = TrialResult(number=member.number, state=TrialState.FAILED, error=error)
                self._ledger.set_trial(member, record.RESULT, result.to_json())
                continue
            copy_checkpoints(self._folder_of(move["from"]), self._folder_of(member.number))
            self._take_over(member, move, generation)
        self._ledger.set(key, {**noted, "done": True})
        lost = {int(number) for number, move in noted["moves"].items() if move["from"] is None}
        return any(member.number not in lost for member in members)

    def _decide(self, generation: int, members: Sequence[FrozenTrial]) -> dict[str, dict[str, Any]]:
        """Choose who takes over whom, and with what settings."""
        rng = random.Random(f"{self._ledger.spec.search.seed}/{generation}")
        epoch = generation * self._options.interval
        sign = 1.0 if self._ledger.spec.objective.mode == "max" else -1.0

        def score(trial: FrozenTrial) -> float:
            value = trial.intermediate_values.get(epoch, math.nan)
            is_bad = BROKEN in trial.user_attrs and trial.user_attrs[BROKEN] is not None
            return -math.inf if is_bad or not math.isfinite(value) else sign * value

        ranked = sorted(members, key=score, reverse=True)
        sound = [t for t in ranked if score(t) > -math.inf]
        count = max(1, int(self._options.quantile * len(members)))
        donors = sound[:count]
        lost = [t for t in ranked if score(t) == -math.inf]
        losers = [t for t in ranked[-max(count, len(lost)) :] if t not in donors]
        moves: dict[str, dict[str, Any]] = {}
        for loser in losers:
            if not donors:
                moves[str(loser.number)] = {"from": None}
                continue
            donor = rng.choice(donors)
            moves[str(loser.number)] = {
                "from": donor.number,
                "sampled": self._varied(donor, rng),
            }
        return moves

    def _varied(self, donor: FrozenTrial, rng: random.Random) -> dict[str, Scalar]:
        """Vary a member's settings to others that `where` allows; as they are if none are found."""
        for _ in range(TRIES):
            varied = self._vary(_sampled(donor), donor.distributions, rng)
            if is_allowed(self._where, self._ledger.spec.space.at(varied)):
                return varied
        return dict(_sampled(donor))

    def _vary(
        self,
        sampled: Mapping[str, Scalar],
        distributions: Mapping[str, BaseDistribution],
        rng: random.Random,
    ) -> dict[str, Scalar]:
        draw = random_suggest(rng)
        varied: dict[str, Scalar] = {}
        for name, value in sampled.items():
            distribution = distributions[name]
            if rng.random() < self._options.resample:
                varied[name] = draw(name, distribution)
            elif isinstance(distribution, CategoricalDistribution):
                place = distribution.choices.index(value) + rng.choice((-1, 1))
                varied[name] = distribution.choices[
                    max(0, min(place, len(distribution.choices) - 1))
                ]
            else:
                varied[name] = _scaled(value, distribution, self._options.factor, rng)
        return varied

    def _take_over(self, member: FrozenTrial, move: Mapping[str, Any], generation: int) -> None:
        sampled = move["sampled"]
        point = self._ledger.spec.space.at(sampled)
        lineage = [*member.user_attrs.get(LINEAGE, [])]
        lineage.append({"generation": generation, "from": move["from"], "params": point.params})
        for key, value in (
            (record.CONFIG, point.config),
            (record.PARAMS, point.params),
            (SAMPLED, sampled),
            (LINEAGE, lineage),
            (BROKEN, None),
        ):
            self._ledger.set_trial(member, key, value)


def population_of(ledger: Ledger, folder_of: Callable[[int], Path]) -> Population | None:
    """Give the population of a sweep whose sampler is pbt; None for any other."""
    search = ledger.spec.search
    if not search.is_population:
        return None
    options = Options(**options_of(search.sampler))
    return Population(ledger, options, folder_of)


def copy_checkpoints(source: Path, target: Path) -> None:
    """Give a member the state of another; each file appears whole, and the older fallback goes."""
    target.mkdir(parents=True, exist_ok=True)
    for name in CHECKPOINTS:
        part = target / f".{name}.taken"
        shutil.copyfile(source / name, part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target / name)
    (target / "previous.pt").unlink(missing_ok=True)


def _segments(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(SEGMENT, 0))


def _sampled(trial: FrozenTrial) -> dict[str, Scalar]:
    found: dict[str, Scalar] = trial.user_attrs.get(SAMPLED, trial.params)
    return found


def _scaled(
    value: Any, distribution: BaseDistribution, factor: float, rng: random.Random
) -> int | float:
    low, high = getattr(distribution, "low"), getattr(distribution, "high")  # noqa: B009
    step = getattr(distribution, "step", None)
    scaled = value * rng.choice((factor, 1 / factor))
    if step is not None:
        scaled = low + round((scaled - low) / step) * step
        if scaled == value:  # a small number must move, too
            scaled = value + rng.choice((-step, step))
    kept = min(max(scaled, low), high)
    return float(kept) if isinstance(distribution, FloatDistribution) else int(kept)
