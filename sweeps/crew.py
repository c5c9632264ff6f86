"""Trials that one worker trains as one (`resources.fuse`): who goes together, and what they say.

A crew is one or more trials of one shape. It speaks once an epoch, when the state of every member
is on disk. When a member ends, the engine ends the crew: the others go back to the study and go on
in the next crew, which is full again. A crew that breaks (a model that cannot be fused, memory that
does not suffice, an error of one member) costs no trial: they go on in smaller crews or alone,
where whoever is at fault fails alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path

from s4core import Diverged
from s4core.train.errors import Unfusable
from s4core.train.fit import choose_device
from s4core.train.fused import Member, crowd_key, fit_together
from s4core.train.report import EpochReport

from .host import HostSampler
from .outcome import Outcome
from .progress import Counted
from .study import Study
from .trial import Desk, open_data, run_trial, task_shape, train_config
from .types import Finished, TrialResult, TrialSpec, Waiting

# What the members say after an epoch, by number; the first time also what was said before.
Said = list[tuple[int, EpochReport | Diverged]]

# Errors, by name, that say that a worker's memory is too small.
OUT_OF_MEMORY = ("TooMuchMemory", "OutOfMemoryError", "MemoryError")


class Crews:
    """Puts the trials that a study hands out together; one for each run of an engine."""

    def __init__(self, study: Study, *, only: int | None = None) -> None:
        """only: this trial, which was reopened, and no other."""
        self.study = study
        self._only = only
        self._size = study.spec.resources.fuse if only is None else 1
        self._most: dict[str, int] = {}  # by what trials have in common
        self._alone: set[int] = set()
        self._judged: dict[int, int] = {}

    def next(self) -> Crew | Waiting | Finished:
        """Who is to be taken up now; nobody is waited for."""
        asked: list[TrialSpec] = []
        members: list[TrialSpec] = []
        try:
            first = self.study.ask(self._only)
            if not isinstance(first, TrialSpec):
                return first
            asked.append(first)
            key = self._key(first)
            most = 1 if key is None else self._most.get(key, self._size)
            while len(asked) < most and isinstance(one := self.study.ask(), TrialSpec):
                asked.append(one)
            members = [first, *(one for one in asked[1:] if self._key(one) == key)]
        finally:  # of another shape, or the storage failed: the next to be asked for
            for one in asked:
                if one not in members:
                    self.study.release(one.number)
        return Crew(self.study, members, self._judged)

    def release(self, crew: Crew) -> None:
        """Give back to the study who has not ended; to be called when the crew is at no worker."""
        for number in crew.unfinished:
            self.study.release(number)

    def broke(self, crew: Crew, kind: str) -> None:
        """Keep the members of a crew from breaking another one. kind: name of the error's class."""
        key = self._key(crew.specs[0])
        if kind == Unfusable.__name__ and key is not None:
            self._most[key] = 1
        elif kind in OUT_OF_MEMORY and key is not None:
            self._most[key] = (len(crew.specs) + 1) // 2
        else:
            self._alone.update(spec.number for spec in crew.specs)

    def _key(self, spec: TrialSpec) -> str | None:
        if self._size == 1 or spec.number in self._alone:
            return None
        shape = crowd_key(spec.model, train_config(spec))
        return None if shape is None else f"{sorted(spec.data.items())} {shape}"


class Crew:
    """Trials that are out together, as their engine knows them.

    judged: the last epoch of each trial on which its study has given a verdict, which is kept up to
    date: a trial that goes on in another crew is not judged twice for one epoch.
    """

    def __init__(self, study: Study, specs: Sequence[TrialSpec], judged: dict[int, int]) -> None:
        self.specs = tuple(specs)
        self._study = study
        self._judged = judged
        self._outcomes = {spec.number: Outcome(study.spec.objectives) for spec in specs}
        self._known = {spec.number: study.ledger.result(spec.number).epochs for spec in specs}
        self._errors: dict[int, str] = {}
        self._pruned: set[int] = set()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the trials are kept."""
        return tuple(self._study.trial_folder(spec.number) for spec in self.specs)

    @property
    def ended(self) -> list[int]:
        """Who has ended: pruned, out of patience or epochs, or failed."""
        done = (n for n, outcome in self._outcomes.items() if outcome.stopped_by is not None)
        return sorted({*done, *self._pruned, *self._errors})

    @property
    def unfinished(self) -> list[int]:
        """Who has not ended."""
        return sorted(set(self._outcomes) - set(self.ended))

    def epochs(self, number: int) -> int:
        """How many epochs a member has told of."""
        return self._outcomes[number].epochs

    def report(self, number: int, report: EpochReport) -> bool:
        """Take an epoch in; False if it was known already."""
        prune = False
        if report.epoch > self._judged.get(number, 0):
            prune = self._study.report(number, report)
            self._judged[number] = report.epoch
        if prune and report.stopped_by is None:
            self._pruned.add(number)
        return self._outcomes[number].add(report) and report.epoch > self._known[number]

    def fail(self, number: int, error: str) -> None:
        """Take in that a member cannot go on."""
        self._errors[number] = error

    def results(self) -> list[TrialResult]:
        """How those who have ended did so."""
        return [
            self._outcomes[spec.number].result(
                spec, pruned=spec.number in self._pruned, error=self._errors.get(spec.number)
            )
            for spec in self.specs
            if spec.number in self.ended
        ]


def run_crew(
    specs: Sequence[TrialSpec],
    folders: Sequence[Path],
    *,
    home: Path,
    device: str | None = None,
    attempt: str = "1",
) -> Generator[Said, None, None]:
    """Train trials of one shape as one, each in its folder; yield what they say after each epoch.

    The arguments are those of `run_trial`, and so is what one trial alone does and raises. Of
    several, one that diverges says so and leaves; anything else that goes wrong ends them all
    (Unfusable for trials that cannot be fused), and each can be started again alone.
    """
    if len(specs) == 1:
        stream = run_trial(specs[0], folders[0], home=home, device=device, attempt=attempt)
        with contextlib.closing(stream):
            for report in stream:
                yield [(specs[0].number, report)]
        return
    with contextlib.ExitStack() as stack:
        desks = [
            stack.enter_context(
                Desk(spec, folder, attempt=attempt, device=device, crowd=len(specs))
            )
            for spec, folder in zip(specs, folders, strict=True)
        ]
        data = open_data(specs[0], home, on_device=choose_device(device).type == "cuda")
        host = stack.enter_context(HostSampler())
        watchers = [desk.begin(data, host) for desk in desks]

        def tell(split: str, done: int, total: int) -> None:
            for watcher in watchers:
                watcher(split, done, total)

        epochs = fit_together(
            [_member(*each) for each in zip(specs, folders, desks, strict=True)],
            task_shape(data),
            Counted(data, tell),
            metric=specs[0].objective.metric,
            mode=specs[0].objective.mode,
            device=device,
        )
        for said in epochs:
            usage = host.take()
            for index, word in said:
                if isinstance(word, EpochReport) and desks[index].lacks(word):
                    desks[index].note(word, usage)
            if said:  # nothing was said before
                yield [(specs[index].number, word) for index, word in said]


def _member(spec: TrialSpec, folder: Path, desk: Desk) -> Member:
    return Member(
        model=spec.model,
        train=train_config(spec),
        folder=folder,
        seed=spec.seed,
        guard=desk.lease.check,
    )
