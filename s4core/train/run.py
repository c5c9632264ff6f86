"""A run in its folder: taken over from disk, or begun; every epoch is on disk before it is told."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from s4core.config import TaskShape, nearest, to_mapping
from s4core.models import model_config, model_mapping
from s4core.train import checkpoint
from s4core.train.config import TrainConfig
from s4core.train.curve import Curve
from s4core.train.data import TrainData
from s4core.train.errors import CheckpointError
from s4core.train.metrics import reported
from s4core.train.patience import Mode
from s4core.train.report import EpochReport
from s4core.train.training import Training, rank_and_world

logger = logging.getLogger(__name__)

_OTHERS = ("lr", "lr/ssm", "epoch_s", "samples_per_s", "peak_memory_mb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What `fit` was asked for; the fields are its arguments."""

    model: Any
    shape: TaskShape
    train: TrainConfig
    data: TrainData
    folder: Path
    metric: str
    mode: Mode
    seed: int
    device: torch.device
    guard: Callable[[], None] | None

    @property
    def made_by(self) -> dict[str, Any]:
        """What a checkpoint says of its origin, as plain data."""
        config = model_config(self.model) if isinstance(self.model, Mapping) else self.model
        return {
            "model": model_mapping(config),
            "shape": to_mapping(self.shape),
            "train": to_mapping(self.train),
            "objective": {"metric": self.metric, "mode": self.mode},
            "seed": self.seed,
        }

    def training(self, train: TrainConfig) -> Training:
        """Build the model and its optimiser, with `train` for the settings."""
        block = self.made_by["model"]
        return Training(block, self.shape, train, self.data, seed=self.seed, device=self.device)


class Run:
    """A model in training and the folder that keeps it.

    replayed: the reports of the epochs that were done before, to be told again.
    """

    def __init__(self, request: Request) -> None:
        train, folder, guard = request.train, request.folder, request.guard
        _check_objective(request.metric, request.shape, train)
        self.made_by = request.made_by
        self.folder, self.guard, self._make = folder, guard, request.training
        folder.mkdir(parents=True, exist_ok=True)
        self.curve = Curve(train, request.metric, request.mode)
        self.replayed: list[EpochReport] = []
        if rank_and_world()[0] == 0:
            if guard is not None:
                guard()
            checkpoint.remove_torn(folder)
        state = checkpoint.read_last(folder)
        if state is not None and train.halve_batch:
            # What was halved is a limit for the size that was asked for then.
            asked = state["made_by"]["train"]["batch_size"]
            train = _with_batch(train, state["batch_size"]) if asked == train.batch_size else train
        self.training = self._make(train)
        if state is not None:
            _take_over(self.training, state, self.made_by, folder)
            self.replayed = self.curve.replay(state["reports"])

    def fresh_training(self) -> Training:
        """Its model and optimiser as they were before the first epoch."""
        return self._make(self.training.train)

    def run_epoch(self) -> dict[str, float]:
        """Train the next epoch, with half the batch size and again where memory runs out."""
        while True:
            try:
                metrics = self.training.run_epoch(
                    self.curve.epoch + 1, plateau=self.curve.plateau.factor
                )
            except torch.OutOfMemoryError:
                train = self.training.train
                if not train.halve_batch or train.batch_size == 1 or self.training.world > 1:
                    raise
            else:
                if self.training.train.halve_batch:
                    metrics["batch_size"] = float(self.training.train.batch_size)
                return metrics
            # Outside of the handler: the error holds on to every tensor of the failed step.
            self._start_smaller(_with_batch(train, train.batch_size // 2))

    def _start_smaller(self, train: TrainConfig) -> None:
        logger.warning(
            "%s: out of memory; going on with batch_size %d.", self.folder, train.batch_size
        )
        del self.training
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.training = self._make(train)
        state = checkpoint.read_last(self.folder)
        if state is not None:
            _take_over(self.training, state, self.made_by, self.folder)

    def finish_epoch(self, metrics: dict[str, float]) -> EpochReport:
        """Add the epoch that `training` has just done, put it on disk, and report it."""
        report = self.curve.add(metrics)
        if self.training.rank == 0:
            self._save(report)
        if self.training.world > 1:
            dist.barrier()
        return report

    def _save(self, report: EpochReport) -> None:
        # best.pt first: killed in between, the epoch is done again and writes the same best.pt.
        made = {"made_by": self.made_by, "epoch": report.epoch}
        if report.best:
            weights = self.training.evaluated.state_dict()
            best = {**made, "metrics": dict(report.metrics), "model": weights}
            checkpoint.write(self.folder / checkpoint.BEST, best, guard=self.guard)
        size = self.training.train.batch_size
        last = {**made, "reports": self.curve.metrics, "batch_size": size, **self.training.state()}
        checkpoint.write(self.folder / checkpoint.LAST, last, guard=self.guard)


def _with_batch(train: TrainConfig, size: int) -> TrainConfig:
    """The settings with a batch size of at most `size`; if that is smaller, in validation too."""
    if size >= train.batch_size:
        return train
    other = train.eval_batch_size
    smaller = None if other is None else min(size, other)
    return dataclasses.replace(train, batch_size=size, eval_batch_size=smaller)


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
