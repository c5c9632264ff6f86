"""What to try next: drafts of the sampler that are neither forbidden nor a repetition."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from . import catalog, record
from .blocks import complete
from .draft import FIXED, Draft
from .errors import Exhausted
from .expressions import Expression
from .files import options_of
from .ledger import Ledger
from .nodes import Scalar
from .samplers.grid import GridSampler
from .space import Point
from .spec import SweepSpec
from .tally import Tally

TRIES = 20  # drafts of the sampler before chance decides
RANDOM_TRIES = 200


class Proposals:
    """Draws configurations that are allowed (`where`) and that no trial has had."""

    def __init__(self, spec: SweepSpec, storage: BaseStorage, *, drawn: int) -> None:
        self._spec = spec
        self._storage = storage
        self._where = [Expression(text) for text in spec.where]
        # Another driver of the same sweep must not draw the same numbers again.
        first = spec.search.seed * 1_000_003 % 2**31
        seed = (first + drawn) % 2**31
        self._random = RandomSampler(seed=seed)
        self._rng = random.Random(seed)
        module = catalog.load("samplers", spec.search.sampler["name"])
        options = module.Options(**options_of(spec.search.sampler))
        goes_on = getattr(module, "GOES_ON", False)
        self.sampler: BaseSampler = module.build(options, spec.space, first if goes_on else seed)

    def draw(self, seen: Collection[str], *, number: int) -> Draft:
        """Draft a trial; raises Exhausted when everything in the space has been tried."""
        is_grid = isinstance(self.sampler, GridSampler)  # which ends by itself
        for attempt in itertools.count() if is_grid else range(TRIES + RANDOM_TRIES):
            is_theirs = is_grid or attempt < TRIES
            draft = self.draft(number, self.sampler if is_theirs else self._random)
            if (
                is_allowed(self._where, draft.point)
                and record.fingerprint(draft.point.config) not in seen
            ):
                return draft
        return self._pick(seen, number)

    def add(self, ledger: Ledger, tally: Tally) -> FrozenTrial:
        """Draft a trial that is like none there is and write it; raises Exhausted."""
        draft = self.draw(tally.prints, number=tally.known)
        draft.trial.user_attrs = record.attributes(draft.point, self._spec.seed)
        return ledger.add(draft.trial)

    def start(self, ledger: Ledger, trial: FrozenTrial) -> FrozenTrial | None:
        """Start a trial that waits (what it leaves open is sampled); None if it is gone."""
        storage, trial_id = ledger.storage, trial._trial_id
        if record.CONFIG not in trial.user_attrs:
            fixed = trial.system_attrs.get(FIXED, {})
            try:
                draft = self.draft(trial.number, fixed=fixed)
            except Exhausted:  # what it leaves open is then a repetition, which it asks for
                draft = self.draft(trial.number, self._random, fixed)
            for name, distribution in draft.trial.distributions.items():
                value = distribution.to_internal_repr(draft.trial.params[name])
                storage.set_trial_param(trial_id, name, value, distribution)
            label = trial.user_attrs.get(record.LABEL, "enqueued")
            for key, item in record.attributes(draft.point, self._spec.seed, label).items():
                ledger.set_trial(trial, key, item)
            for key, item in draft.trial.system_attrs.items():
                storage.set_trial_system_attr(trial_id, key, item)
        if not storage.set_trial_state_values(trial_id, OptunaState.RUNNING):
            return None
        return ledger.trial(trial.number)

    def draft(
        self,
        number: int,
        sampler: BaseSampler | None = None,
        fixed: dict[str, Scalar] | None = None,
    ) -> Draft:
        """Draft a trial in which `fixed` is given and the rest is sampled."""
        return Draft(
            self._spec.name,
            self._storage,
            sampler or self.sampler,
            self._spec.space.resolve,
            number=number,
            fixed=fixed,
        )

    def _pick(self, seen: Collection[str], number: int) -> Draft:
        """Choose among what is left of a space that can be counted."""
        space = self._spec.space
        if space.size() is None:
            raise Exhausted(
                f"{TRIES + RANDOM_TRIES} drafts held nothing new that `where` allows"
                if self._where
                else f"{TRIES + RANDOM_TRIES} drafts held nothing new"
            )
        left = []
        for sampled in space.grid(None):
            point = space.at(sampled)
            if record.fingerprint(point.config) not in seen and is_allowed(self._where, point):
                left.append(sampled)
        if not left:
            raise Exhausted(f"all {space.size()} configurations have been tried")
        return self.draft(number, self._random, dict(self._rng.choice(left)))


def is_allowed(where: Sequence[Expression], point: Point) -> bool:
    """Whether every expression of `where` is true at a point."""
    if not where:
        return True
    whole: Mapping[str, Any] = complete(point.config)
    return all(bool(expression(whole)) for expression in where)
