"""`fit`: a training run as a generator of epoch reports, which may end at any moment.

Three promises. The state is on disk before a report is handed out. Starting again is how a run
goes on: the reports already made are told again, then training continues as if nothing had been.
On a CPU the stream of reports equals that of an undisturbed run bit by bit, times and memory apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from s4core.config import TaskShape, from_mapping, nearest, to_mapping
from s4core.models import build, model_config, model_mapping
from s4core.train import checkpoint
from s4core.train.config import TrainConfig
from s4core.train.data import TrainData
from s4core.train.errors import CheckpointError
from s4core.train.metrics import reported
from s4core.train.patience import Best, Mode, is_out_of_patience
from s4core.train.report import EpochReport, StoppedBy
from s4core.train.schedules import Plateau
from s4core.train.training import Training, rank_and_world

logger = logging.getLogger(__name__)

_OTHERS = ("lr", "lr/ssm", "epoch_s", "samples_per_s", "peak_memory_mb")


def fit(
    model: Any,
    shape: TaskShape,
    train: TrainConfig,
    data: TrainData,
    folder: Path,
    *,
    metric: str = "val/accuracy",
    mode: Mode = "max",
    seed: int = 0,
    device: torch.device | str | None = None,
    guard: Callable[[], None] | None = None,
) -> Iterator[EpochReport]:
    """Train until all epochs are done or patience runs out; yield a report for each epoch.

    model: a Config or a block with `name`. folder: where last.pt and best.pt are kept, made if
    need be. metric, mode: the objective, which moves best.pt, patience and the plateau schedule.
    seed: >= 0. device: None is the GPU if there is one. guard: called before anything is put in
    place on disk; it raises if this process should no longer write there.

    The settings may change between two starts (more epochs, another rate, no patience), the model,
    the task and the objective may not.

    Under torch.distributed every process calls this and gets the same reports; rank 0 writes.
    Raises ConfigError, ValueError (a metric that the task lacks), Diverged, CheckpointError.
    """
    block = model_mapping(model_config(model) if isinstance(model, Mapping) else model)
    _check_objective(metric, shape, train)
    made_by = {
        "model": block,
        "shape": to_mapping(shape),
        "train": to_mapping(train),
        "objective": {"metric": metric, "mode": mode},
        "seed": seed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(block, shape, train, data, seed=seed, device=choose_device(device))
    curve = _Curve(train, metric, mode)
    state = checkpoint.read_last(folder)
    if state is not None:
        _take_over(training, state, made_by, folder)
        yield from curve.replay(state["reports"])
    is_writer = rank_and_world()[0] == 0
    while curve.stopped_by is None:
        report = curve.add(training.run_epoch(curve.epoch + 1, plateau=curve.plateau.factor))
        if is_writer:
            _save(folder, training, report, curve, made_by, guard)
        if training.world > 1:
            dist.barrier()
        yield report


def evaluate(
    folder: Path,
    data: TrainData,
    split: str = "test",
    checkpoint: str = "best",
    *,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Score the model kept in `folder` ("best" or "last") on a split: `{"test/loss": ...}`.

    Raises CheckpointError if it is missing or damaged.
    """
    made_by, weights = _kept(folder, checkpoint)
    training = Training(
        made_by["model"],
        from_mapping(TaskShape, made_by["shape"]),
        from_mapping(TrainConfig, {**made_by["train"], "ema": 0.0}),
        data,
        seed=made_by["seed"],
        device=choose_device(device),
    )
    training.model.load_state_dict(weights)
    return {f"{split}/{name}": value for name, value in training.evaluate(split).items()}


def load_model(
    folder: Path, checkpoint: str = "best", *, device: torch.device | str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model kept in `folder` with its weights, in eval mode.

    Returns it with what made it: `model`, `shape`, `train`, `objective`, `seed` as plain data.
    """
    made_by, weights = _kept(folder, checkpoint)
    model = build(made_by["model"], made_by["shape"])
    model.load_state_dict(weights)
    return model.to(device).eval(), made_by


def choose_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; without a wish the current GPU if there is one, else the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


class _Curve:
    """The reports so far and all that follows from them: best, patience, plateau, the end."""

    def __init__(self, train: TrainConfig, metric: str, mode: Mode) -> None:
        self._train, self._metric = train, metric
        self._best = Best(mode=mode)
        self._patient = Best(mode=mode, margin=train.min_delta)
        self.plateau = Plateau(best=Best(mode=mode))
        self.stopped_by: StoppedBy | None = None
        self.metrics: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """The last epoch that is done."""
        return len(self.metrics)

    def add(self, metrics: dict[str, float]) -> EpochReport:
        """Take the metrics of the next epoch."""
        self.metrics.append(metrics)
        value = metrics[self._metric]
        is_best = self._best.update(self.epoch, value)
        self._patient.update(self.epoch, value)
        self.plateau.update(self._train, self.epoch, value)
        if self.epoch >= self._train.epochs:
            self.stopped_by = "epochs"
        elif is_out_of_patience(
            self._train.patience, epoch=self.epoch, best_epoch=self._patient.epoch
        ):
            self.stopped_by = "patience"
        return EpochReport(
            epoch=self.epoch, metrics=dict(metrics), best=is_best, stopped_by=self.stopped_by
        )

    def replay(self, metrics: list[dict[str, float]]) -> Iterator[EpochReport]:
        """Tell again what was told before; only the last report may now be the end."""
        reports = []
        for past in metrics:
            self.stopped_by = None
            reports.append(self.add(past))
        for report in reports[:-1]:
            yield EpochReport(epoch=report.epoch, metrics=report.metrics, best=report.best)
        yield from reports[-1:]


def _check_objective(metric: str, shape: TaskShape, train: TrainConfig) -> None:
    names = [f"train/{n}" for n in reported(shape)]
    names += [f"val/{n}" for n in reported(shape, train.metrics)]
    names += _OTHERS
    if metric not in names:
        raise ValueError(f"no metric {metric!r} for this task: {nearest(metric, names)}")


def _take_over(
    training: Training, state: Mapping[str, Any], made_by: Mapping[str, Any], folder: Path
) -> None:
    """Put the state of an earlier start into `training`; refuse that of something else."""
    path = folder / checkpoint.LAST
    for what in ("model", "shape", "objective"):
        before, now = state["made_by"][what], made_by[what]
        if before != now:
            raise CheckpointError(
                path, f"belongs to another {what}: {_difference(before, now)}. Use another folder."
            )
    changes = _difference(state["made_by"]["train"], made_by["train"])
    if changes:
        logger.info("%s: going on with other settings: %s.", path, changes)
    try:
        training.load(state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(path, f"does not fit ({error}). Use another folder.") from error


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = [k for k in {**before, **now} if before.get(k) != now.get(k)]
    return ", ".join(f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in keys)


def _save(
    folder: Path,
    training: Training,
    report: EpochReport,
    curve: _Curve,
    made_by: Mapping[str, Any],
    guard: Callable[[], None] | None,
) -> None:
    # best.pt first: killed in between, the epoch is done again and writes the same best.pt.
    if report.best:
        best = {
            "made_by": dict(made_by),
            "epoch": report.epoch,
            "metrics": dict(report.metrics),
            "model": training.evaluated.state_dict(),
        }
        checkpoint.write(folder / checkpoint.BEST, best, guard=guard)
    last = {
        "made_by": dict(made_by),
        "epoch": report.epoch,
        "reports": curve.metrics,
        **training.state(),
    }
    checkpoint.write(folder / checkpoint.LAST, last, guard=guard)


def _kept(folder: Path, which: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What made the model kept in `folder`, and its weights."""
    if which not in ("best", "last"):
        raise ValueError(f"no checkpoint {which!r}: choose from best, last.")
    if which == "best":
        state = checkpoint.read(folder / checkpoint.BEST)
        return state["made_by"], state["model"]
    state_or_none = checkpoint.read_last(folder)
    if state_or_none is None:
        raise CheckpointError(folder / checkpoint.LAST, "is not there.")
    state = state_or_none
    if state["ema"] is None:
        return state["made_by"], state["model"]
    prefix = "module."
    weights = {k.removeprefix(prefix): v for k, v in state["ema"].items() if k.startswith(prefix)}
    return state["made_by"], weights
