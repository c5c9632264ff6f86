"""A sweep as it was asked for: one YAML file, checked before anything runs.

Every mistake is one SpecError: `file:line: dotted.path: what was wrong; the nearest right choice`.
docs/yaml.md is the reference of the keys.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s4core.config import config

from .files import plain
from .space import Space
from .types import Objective


@config
class Search:
    """How the space is searched, and when the sweep is done (whichever comes first).

    sampler, pruner: `{name: tpe}` and the options of that file of `samplers/` or `pruners/`.
    trials: how many; seed: of the sampler. max_failures: failed trials (error, NaN) that are
    replaced before the sweep gives up. wall_hours: time that drivers spend on it; gpu_hours: epoch
    time times GPUs a trial; both are hard: what runs then is stopped (pruned) after the epoch in
    hand. no_improvement: finished trials since the best one; with several objectives, since the
    last one that joined the front.
    """

    sampler: Any  # a mapping
    pruner: Any
    trials: int = 20
    seed: int = 0
    max_failures: int = 10
    wall_hours: float | None = None
    gpu_hours: float | None = None
    no_improvement: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "no_improvement"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"need {name} >= 1, got {value}.")
        if self.max_failures < 0:
            raise ValueError(f"need max_failures >= 0, got {self.max_failures}.")
        for name in ("wall_hours", "gpu_hours"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"need {name} > 0, got {value}.")

    @property
    def is_population(self) -> bool:
        """Whether the trials are members of a population, which take over one another."""
        return bool(self.sampler["name"] == "pbt")


@config
class Resources:
    """What one trial needs, and how many may run at once.

    cpus, gpus: a fraction shares a device, above 1 whole devices only. memory_gb: per trial; one
    that uses more fails alone. concurrent: trials at once; None is as many as fit.
    custom: names of Ray's own resources. workers: processes that train one trial together (DDP);
    the other figures are per worker. attempts: times a trial is started again after a lost worker.
    pack: measure the first trial, then run as many as fit: `gpus: 1` is shared, by what a trial
    held of it; without GPUs `memory_gb` is found.
    fuse: most trials that a worker trains as one, with the figures of one trial; `concurrent` then
    counts workers. Trials must be of one shape (sizes, kernels, data, batch_size); rates, decay,
    dropout, init and seed may differ. What finds no companion runs alone. See docs/scale.md.
    """

    cpus: float = 1
    gpus: float = 0
    memory_gb: float | None = None
    concurrent: int | None = None
    workers: int = 1
    attempts: int = 10
    pack: bool = False
    fuse: int = 1
    custom: Any = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if value < 0 or (value > 1 and value != int(value)):
                raise ValueError(f"need {name} between 0 and 1, or a whole number, got {value}.")
        for name in ("memory_gb", "concurrent", "workers", "fuse"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"need {name} > 0, got {value}.")
        if self.attempts < 0:
            raise ValueError(f"need attempts >= 0, got {self.attempts}.")
        if self.pack and (self.workers != 1 or self.gpus not in (0, 1)):
            raise ValueError("need workers: 1 and gpus: 1 (to be shared) or 0 with pack: true.")
        if self.pack and not self.gpus and self.memory_gb is not None:
            raise ValueError("need no memory_gb with pack: true and no GPUs: it is measured.")
        if self.fuse > 1 and (self.workers > 1 or self.gpus > 1 or self.pack):
            raise ValueError("fuse wants workers: 1, at most one GPU and no pack.")
        amounts = self.custom.values() if isinstance(self.custom, Mapping) else [0]
        if not all(type(a) in (int, float) and a > 0 for a in amounts):
            raise ValueError(
                f"need custom to be a block of names and amounts > 0, got {self.custom!r}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """One sweep; `data`, `model` and `train` may hold ranges. JSON round-trips.

    objectives: the first moves patience, `best.pt` and pruning; several make a Pareto sweep.
    where: expressions that every trial must make true. repeat: seeds a configuration is run with.
    baselines: presets run before anything is sampled. warm_start: sweeps whose finished trials the
    sampler learns from. storage: an Optuna URL in place of the journal (`env:NAME` names a
    variable). seed: of the trials. ran_with: what the trial that this file repeats ran with (code,
    versions, device, data). text: the YAML as it was written.
    """

    name: str
    objectives: tuple[Objective, ...]
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    search: Search
    resources: Resources
    seed: int = 0
    where: tuple[str, ...] = ()
    repeat: int = 1
    baselines: tuple[str, ...] = ()
    warm_start: tuple[str, ...] = ()
    storage: str | None = None
    ran_with: Mapping[str, str] = dataclasses.field(default_factory=dict)
    text: str = ""

    @property
    def objective(self) -> Objective:
        """The first objective, which moves patience, `best.pt`, pruning and "best trial"."""
        return self.objectives[0]

    @functools.cached_property
    def space(self) -> Space:
        """The ranges of the three blocks."""
        return Space.from_data({"data": self.data, "model": self.model, "train": self.train})

    @classmethod
    def kept_in(cls, folder: Path) -> SweepSpec:
        """Read the spec of a sweep that there is from its folder."""
        return cls.from_json(json.loads((folder / "spec.json").read_text(encoding="utf-8")))

    def data_blocks(self) -> list[Mapping[str, Any]]:
        """The data sets that the trials use, as far as the corners of the space show."""
        blocks = [point.config["data"] for point in self.space.corners()]
        return list({json.dumps(block, sort_keys=True): block for block in blocks}.values())

    @property
    def data_has_ranges(self) -> bool:
        """Whether trials differ in their data, so that it cannot be prepared before the first."""
        return bool(next(Space.from_data({"data": self.data}).corners()).distributions)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the inverse."""
        result = plain(self)
        assert isinstance(result, dict)
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SweepSpec:
        """Read what `to_json` wrote."""
        return cls(
            **{
                **data,
                "objectives": tuple(Objective(**o) for o in data["objectives"]),
                "search": Search(**data["search"]),
                "resources": Resources(**data["resources"]),
                **{k: tuple(data[k]) for k in ("where", "baselines", "warm_start")},
            }
        )


def load_spec(path: Path | str, *, allow_imports: bool = False) -> SweepSpec:
    """Read and check the YAML file of a sweep.

    allow_imports: whether names may be modules outside of this package (importing runs them).
    Raises SpecError, one line, for the first mistake.
    """
    from .merging import read_tree
    from .reading import SpecReader

    path = Path(path)
    tree = read_tree(path)
    return SpecReader(tree, allow_imports=allow_imports).read(default_name=path.stem)


__all__ = ["Resources", "Search", "SweepSpec", "load_spec"]
