"""`s4sweep submit FILE --dry-run`: whatever can go wrong is better told before the first GPU hour.

The file is checked here; the rest is checked where the sweep will run (as a short job on the
cluster, if there is one), because that is where the data, the memory and the storage are. Data that
nobody has prepared yet is prepared: that is the proof that it can be.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import auth, jobs
from cluster.doctor import Finding, examine, tell
from cluster.errors import UserError
from sweeps.files import options_of
from sweeps.plural import plural

if TYPE_CHECKING:
    from data_prep import Dataset
    from s4core import TrainConfig
    from sweeps import SweepSpec

MAX_MODELS = 40
# Temporaries of a step and the interpreter with torch, beside what the backward pass keeps.
OVERHEAD_BYTES = 600 * 2**20
_REPORTED = "epoch_s"


def main(args: argparse.Namespace) -> int:
    """Check everything; 0 if the sweep can run, 2 for mistakes in the file, 1 for all else."""
    from sweeps import load_spec
    from sweeps.mistakes import find_mistakes

    mistakes = find_mistakes(args.file, allow_imports=args.allow_imports)
    if mistakes:
        for mistake in mistakes:
            column = f":{mistake.mark.column}" if mistake.mark else ""
            place = f"{mistake.mark}{column}: " if mistake.mark else ""
            print(f"{place}{mistake.path + ': ' if mistake.path else ''}{mistake.message}")
        print(f"{plural(len(mistakes), 'mistake')} in {args.file}.")
        return 2
    inside = jobs.address_inside()
    if not args.address and inside:
        return _inside(load_spec(args.file, allow_imports=args.allow_imports), inside, args)
    try:
        address = jobs.find_address(args.address)
    except UserError:
        if args.address:
            raise
        from sweeps import home

        spec = load_spec(args.file, allow_imports=args.allow_imports)
        note = Finding(level="warn", where="cluster", what="none given, so none was checked")
        return tell([*check(spec, home()), note], as_json=args.json)
    return _outside(args, address)


def _inside(spec: SweepSpec, address: str, args: argparse.Namespace) -> int:
    from cluster.runtime import ray_running
    from sweeps import home

    with ray_running(address):
        found, _ = check_cluster(spec)
        findings = [*check(spec, home()), found, *examine(str(home()), mlflow=None)]
    return tell(findings, as_json=args.json)


def _outside(args: argparse.Namespace, address: str) -> int:
    from cluster.parcel import Parcel
    from cluster.submit import relay

    words = ["submit", "--dry-run"]
    words += [
        flag for flag, on in (("--json", args.json), ("--allow-imports", args.allow_imports)) if on
    ]
    parcel = Parcel(
        home=args.cluster_home, mlflow=args.mlflow, sweep=args.file, modules=tuple(args.module)
    )
    return relay(address, [*words, parcel.sweep_name()], parcel=parcel, insecure=args.insecure)


def check(spec: SweepSpec, home: Path) -> Iterator[Finding]:
    """What can be said without a cluster: space, data, models, cost."""
    combinations = spec.space.size()
    count = "a continuous space" if combinations is None else plural(combinations, "configuration")
    trials = f"{plural(spec.search.trials, 'trial')} of {spec.search.sampler['name']}"
    yield Finding(level="ok", where="space", what=f"{count}, {trials}")
    points: list[Mapping[str, Any]] = [point.config for point in spec.space.corners()]
    datasets: dict[str, Dataset] = {}
    for block in _distinct(point["data"] for point in points):
        finding, dataset = _data(block, home)
        yield finding
        if dataset is not None:
            datasets[_key(block)] = dataset
    if datasets:
        yield from _models(spec, points, datasets)
    yield _cost(spec, points, home)


def check_cluster(
    spec: SweepSpec, nodes: Sequence[Mapping[str, float]] | None = None
) -> tuple[Finding, int]:
    """Whether some node can hold a trial, and how many fit at a time (`nodes` None: Ray's)."""
    from cluster import placement

    wanted = placement.placement_of(spec)
    try:
        placement.check_feasible(wanted, nodes)
    except UserError as error:
        fix = "lower resources, or add such a node"
        what = str(error).rstrip(".")
        return Finding(level="fail", where="resources", what=what, fix=fix), 0
    capacity = placement.Capacity.of(wanted, nodes)
    there = f"{plural(capacity.cpus, 'CPU')} and {plural(capacity.gpus, 'GPU')}"
    what = f"{there} have room for {plural(capacity.trials, 'trial')} at a time"
    found = Finding(level="ok", where="resources", what=what)
    return found, capacity.trials


def _data(block: Mapping[str, Any], home: Path) -> tuple[Finding, Dataset | None]:
    import data_prep

    where = f"data {block['name']}"
    try:
        dataset = data_prep.open_dataset(block["name"], options_of(block), home=home)
    except data_prep.DataError as error:
        return Finding(level="fail", where=where, what=str(error).rstrip(".")), None
    rows = ", ".join(f"{split} {part.rows:,}" for split, part in dataset.splits.items())
    what = f"{rows} rows of length {dataset.task.length} ({dataset.fingerprint[:12]})"
    return Finding(level="ok", where=where, what=what), dataset


def _models(
    spec: SweepSpec, points: list[Mapping[str, Any]], datasets: Mapping[str, Dataset]
) -> Iterator[Finding]:
    """Build the models at the corners of the space and say how large they become."""
    from s4core.config import ConfigError, TaskShape
    from s4core.estimate import Estimate, estimate

    sizes: list[tuple[Estimate, Mapping[str, Any]]] = []
    seen = _distinct(
        {"model": p["model"], "data": p["data"], "batch_size": _train(p).batch_size}
        for p in points
        if _key(p["data"]) in datasets
    )
    for point in seen[:MAX_MODELS]:
        shape = TaskShape(**vars(datasets[_key(point["data"])].task))
        batch = point["batch_size"]
        try:
            sizes.append((estimate(point["model"], shape, batch_size=batch), point))
        except (ConfigError, ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())
            yield Finding(level="fail", where="model", what=f"{_short(point['model'])}: {text}")
    if not sizes:
        return
    small, large = min(s.parameters for s, _ in sizes), max(s.parameters for s, _ in sizes)
    worst, point = max(sizes, key=lambda pair: pair[0].training_bytes)
    need = (worst.training_bytes + OVERHEAD_BYTES) / 1e9
    beyond = f" ({len(seen) - MAX_MODELS} corners were left out)" if len(seen) > MAX_MODELS else ""
    what = (
        f"{len(sizes)} built, {small:,} to {large:,} parameters; the largest trains in about "
        f"{need:.1f} GB at batch size {point['batch_size']}{beyond}"
    )
    limit = spec.resources.memory_gb
    if limit is not None and need > limit:
        fix = f"lower train.batch_size or raise resources.memory_gb above {limit:g}"
        yield Finding(level="fail", where="models", what=what, fix=fix)
    else:
        yield Finding(level="ok", where="models", what=what)


def _cost(spec: SweepSpec, points: list[Mapping[str, Any]], home: Path) -> Finding:
    """Trials times epochs times what an epoch took in earlier sweeps of this home."""
    wanted = {(p["data"]["name"], p["model"]["name"]) for p in points}
    epochs = max(_train(p).epochs for p in points)
    seconds = _seconds(home, wanted)
    work = f"at most {plural(spec.search.trials, 'trial')} of {plural(epochs, 'epoch')}"
    if not seconds:
        known = "no earlier run of these models on this data is in the home to tell the hours"
        return Finding(level="ok", where="cost", what=f"{work}; {known}")
    hours = spec.search.trials * epochs * statistics.median(seconds) / 3600
    devices = spec.resources.gpus * spec.resources.workers
    what = f"{work}, about {hours:.2g} trial hours"
    gpu = f" and {hours * devices:.2g} GPU hours" if devices else ""
    return Finding(level="ok", where="cost", what=f"{what}{gpu}, by {len(seconds)} earlier epochs")


def _train(point: Mapping[str, Any]) -> TrainConfig:
    import s4core

    return s4core.from_mapping(s4core.TrainConfig, point["train"], path="train")


def _seconds(home: Path, wanted: set[tuple[str, str]]) -> list[float]:
    from dashboards.record import SweepRecord
    from sweeps import sweep_names

    found = []
    for name in sweep_names(home):
        for trial in SweepRecord.of(home, name).trials():
            spec = trial.spec()
            if spec is not None and (spec.data["name"], spec.model["name"]) in wanted:
                metrics = (line.report.metrics for line in trial.curve())
                found += [m[_REPORTED] for m in metrics if _REPORTED in m]
    return found


def _distinct(items: Any) -> list[Any]:
    return list({_key(item): item for item in items}.values())


def _key(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def _short(model: Mapping[str, Any]) -> str:
    return auth.redact(" ".join(f"{k}={v}" for k, v in model.items()))[:120]


__all__ = ["check", "check_cluster", "main"]
