"""What a sweep would run, before it runs: configurations, sizes, memory, and time by a probe.

The probe trains two short epochs of a few sampled configurations in this process; the second one's
time is scaled to the epochs and the rows of a trial. Patience and pruning make the truth shorter.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import data_prep
import s4core
from sweeps.plural import plural

from .blocks import complete
from .expressions import Expression
from .files import options_of
from .space import Point, random_suggest
from .spec import SweepSpec
from .trial import task_shape

PROBES = 3
PROBE_BATCHES = 4
EVALUATION = 1 / 3  # cost of a validation row in training rows: forward only


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One configuration that the sweep might run; None stands for what was not probed.

    parameters: of the model; hours: of all epochs on this machine; memory_mb: peak of the probe.
    """

    params: Mapping[str, Any]
    parameters: int | None = None
    hours: float | None = None
    memory_mb: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What `make_plan` found: trials, of how many configurations (None: without end), a sample.

    fits: trials that the machines hold at once, if somebody has looked.
    """

    trials: int
    configurations: int | None
    sample: tuple[PlannedTrial, ...]
    resources: Mapping[str, Any]
    note: str
    fits: int | None = None

    @property
    def at_once(self) -> int:
        """Trials at once: what was asked for, within what fits."""
        bounds = (self.resources["concurrent"], self.fits)
        return max(1, min((n for n in bounds if n is not None), default=1))

    @property
    def hours(self) -> float | None:
        """Hours of all trials, one after the other, as the mean of the sample has it."""
        known = [t.hours for t in self.sample if t.hours is not None]
        return sum(known) / len(known) * self.trials if known else None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "hours": self.hours, "at_once": self.at_once}

    @property
    def text(self) -> str:
        """The plan for people, a few lines."""
        size = self.configurations
        of = "" if size is None else f" of {plural(size, 'configuration')}"
        cpus, gpus, memory_gb = (self.resources[k] for k in ("cpus", "gpus", "memory_gb"))
        needs = [plural(float(n), unit) for n, unit in ((cpus, "CPU"), (gpus, "GPU")) if n]
        needs += [f"{memory_gb:g} GB of memory"] if memory_gb else []
        fuse = self.resources["fuse"]
        who = "each needs" if fuse == 1 else f"up to {fuse} of one shape together need"
        lines = [f"  {plural(self.trials, 'trial')}{of}; {who} {', '.join(needs)}"]
        for trial in self.sample:
            chosen = ", ".join(f"{k}={_short(v)}" for k, v in trial.params.items())
            facts = [
                "" if trial.parameters is None else f"{trial.parameters:,} parameters",
                "" if trial.hours is None else f"up to {_time(trial.hours)}",
                "" if trial.memory_mb is None else f"{trial.memory_mb:,.0f} MB",
            ]
            told = ", ".join(fact for fact in facts if fact)
            lines.append(f"    {chosen or 'the one configuration'}{': ' if told else ''}{told}")
        if self.hours is not None:
            total = _time(self.hours / self.at_once)
            less = "" if fuse == 1 else ", less what fusing spares"
            lines.append(f"  about {total} in all with {self.at_once} at once{less}")
        return "\n".join([*lines, *([f"  {self.note}"] if self.note else [])])


def make_plan(spec: SweepSpec, home: Path, *, probe: bool = True, fits: int | None = None) -> Plan:
    """Look at some configurations of a sweep; with `probe` prepare the data and train a little.

    fits: trials that the machines hold at once.
    """
    sample = []
    note = "" if probe else "no sizes and no times: nothing was trained (--no-probe)."
    for point in _points(spec):
        trial = PlannedTrial(params=point.params)
        if probe and not note:
            try:
                trial = _probe(point, spec, home)
            except (data_prep.DataError, s4core.ConfigError, RuntimeError, MemoryError) as error:
                note = f"no sizes and no times: {error}".splitlines()[0]
        sample.append(trial)
    return Plan(
        trials=min(spec.search.trials, spec.space.size() or spec.search.trials) * spec.repeat,
        configurations=spec.space.size(),
        sample=tuple(sample),
        resources=dataclasses.asdict(spec.resources),
        note=note,
        fits=fits,
    )


def _points(spec: SweepSpec) -> list[Point]:
    suggest = random_suggest(random.Random(spec.search.seed))
    where = [Expression(text) for text in spec.where]
    count = min(PROBES, spec.space.size() or PROBES, spec.search.trials)
    drawn: dict[str, Point] = {}
    for _ in range(200):
        point = spec.space.resolve(suggest)
        if all(bool(expression(complete(point.config))) for expression in where):
            drawn.setdefault(repr(point.params), point)
        if len(drawn) == count:
            break
    return list(drawn.values())


def _probe(point: Point, spec: SweepSpec, home: Path) -> PlannedTrial:
    whole = complete(point.config)
    data = data_prep.open_dataset(whole["data"]["name"], options_of(whole["data"]), home=home)
    train = s4core.from_mapping(
        s4core.TrainConfig,
        {**whole["train"], "epochs": 2, "warmup": 0.0, "schedule_epochs": None, "patience": None},
    )
    few = _Few(data, PROBE_BATCHES)
    with tempfile.TemporaryDirectory() as folder:
        reports = list(
            s4core.fit(
                s4core.model_config(point.config["model"]), task_shape(data), train, few,
                Path(folder), metric=spec.objective.metric, mode=spec.objective.mode,
            )
        )  # fmt: skip
        model, _ = s4core.load_model(Path(folder), checkpoint="last")
    probed = train.batch_size * PROBE_BATCHES
    rows = min(probed, few.size("train")) + EVALUATION * min(probed, few.size("val"))
    per_row = reports[-1].metrics["epoch_s"] / rows
    epoch_rows = data.size("train") + EVALUATION * data.size("val")
    return PlannedTrial(
        params=point.params,
        parameters=sum(p.numel() for p in model.parameters()),
        hours=whole["train"]["epochs"] * epoch_rows * per_row / 3600,
        memory_mb=reports[-1].metrics.get("peak_memory_mb"),
    )


class _Few:
    """A data set of which only the first batches are read."""

    def __init__(self, data: data_prep.Dataset, batches: int) -> None:
        self._data = data
        self._batches = batches

    def size(self, split: str) -> int:
        return self._data.size(split)

    def batches(self, split: str, **arguments: Any) -> Iterator[Any]:
        return itertools.islice(self._data.batches(split, **arguments), self._batches)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _time(hours: float) -> str:
    seconds = hours * 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{hours:.1f} h"
