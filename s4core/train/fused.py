"""K trials of one shape trained as one model: the same stream of reports for each, sooner.

Each trial keeps its own folder, checkpoints, data order, rates, decay, dropout and patience, and
`fit` can go on with any of them later (and this with what `fit` began). Equal to separate training
up to rounding. It pays where steps are short: see benchmarks/fused_trials.py. Each epoch says what
it spared, by a few steps that one trial takes alone beside those of the crowd when it begins.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s4core.config import TaskShape
from s4core.models import model_config, model_mapping
from s4core.ssm.inits import InitOptions
from s4core.train.config import TrainConfig
from s4core.train.data import Batch, TrainData, to_device
from s4core.train.errors import Diverged, Unfusable
from s4core.train.fit import choose_device
from s4core.train.fused_model import FusedModel, unfusable
from s4core.train.fused_optim import StackedAdamW
from s4core.train.measure import peak_memory_mb, reset_peak_memory, synchronize
from s4core.train.metrics import Meter
from s4core.train.patience import Mode
from s4core.train.report import EpochReport
from s4core.train.run import Request, Run
from s4core.train.training import seed_of, seeded

# Steps that are timed alone too, after a first one; not in epochs that are short against them.
TIMED_STEPS, SHORTEST_EPOCH = 3, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """One of the trials; the fields are the arguments of `fit`."""

    model: Any
    train: TrainConfig
    folder: Path
    seed: int = 0
    guard: Callable[[], None] | None = None


def fit_together(
    members: Sequence[Member],
    shape: TaskShape,
    data: TrainData,
    *,
    metric: str = "val/accuracy",
    mode: Mode = "max",
    device: torch.device | str | None = None,
) -> Iterator[list[tuple[int, EpochReport | Diverged]]]:
    """Train the members as one; yield an epoch at a time what each says, as `fit` would alone.

    The first list holds what was said in earlier starts, for all members. A member whose loss is
    no number any more says its `Diverged` and leaves; one that has stopped leaves too. Every state
    is on disk before its list is handed out.
    Raises Unfusable if the members cannot be fused (see `crowd_key`), and what `fit` raises.
    """
    if reason := why_not([m.train for m in members]):
        raise Unfusable(reason)
    place = choose_device(device)
    runs = {
        index: Run(
            Request(shape=shape, data=data, metric=metric, mode=mode, device=place, **vars(member))
        )
        for index, member in enumerate(members)
    }
    for run in runs.values():
        if reason := unfusable(run.training.model):
            raise Unfusable(reason)
    yield [(index, report) for index, run in runs.items() for report in run.replayed]
    active = {index: run for index, run in runs.items() if run.curve.stopped_by is None}
    while active:
        # A crowd that shrinks is stacked anew: nothing is computed for who has left.
        crowd, size = _Crowd(list(active.values()), place), len(active)
        while len(active) == size:
            said: list[tuple[int, EpochReport | Diverged]] = []
            for index, outcome in zip(list(active), crowd.run_epoch(), strict=True):
                word = (
                    outcome if isinstance(outcome, Diverged) else runs[index].finish_epoch(outcome)
                )
                if isinstance(word, Diverged) or word.stopped_by is not None:
                    del active[index]
                said.append((index, word))
            yield said


# Settings of a model that say where its parameters begin, and the rate of dropout, which each
# member keeps for itself: models that differ in these alone have one shape.
_OWN = frozenset(field.name for field in dataclasses.fields(InitOptions)) | {
    "init", "dt_min", "dt_max", "deterministic", "dropout",
}  # fmt: skip


def crowd_key(model: Any, train: TrainConfig) -> str | None:
    """What trials must have in common to be trained as one; None for one that trains alone.

    It is told from the settings: `fit_together` may still refuse a kind of model.
    """
    if why_not([train]):
        return None
    config = model_config(model) if isinstance(model, Mapping) else model
    block = {k: v for k, v in model_mapping(config).items() if k not in _OWN}
    return json.dumps([block, train.batch_size, train.betas], sort_keys=True)


def why_not(trains: Sequence[TrainConfig]) -> str | None:
    """Why trials with these settings cannot be fused; None if they can."""
    for train in trains:
        if train.optimizer != "adamw" or train.accumulate > 1 or train.ema > 0:
            return "only AdamW without accumulation and averaging is fused"
        if train.precision != "fp32" or train.backend != "eager" or train.halve_batch:
            return "only float32 on the eager backend without halve_batch is fused"
    if len({(t.batch_size, t.betas) for t in trains}) > 1:
        return "batch_size and betas must be the same"
    return None


class _Crowd:
    """Runs in step with each other; `run_epoch` trains one epoch of each."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self._runs, self._device = runs, device
        self._generators = [torch.Generator(device) for _ in runs]
        trainings = [run.training for run in runs]
        self._model = FusedModel([t.model for t in trainings], self._generators)
        self._optimizer = StackedAdamW(self._model.parameters, [t.optimizer for t in trainings])
        is_timed = len(runs) > 1 and trainings[0].steps_per_epoch >= SHORTEST_EPOCH
        self._alone = _Alone(runs[0]) if is_timed else None
        self._gain: float | None = None

    def run_epoch(self) -> list[dict[str, float] | Diverged]:
        """Train the next epoch of every run and validate it; the metrics of each, or its end."""
        start, self._timing_s = time.perf_counter(), 0.0
        reset_peak_memory(self._device)
        for run, generator in zip(self._runs, self._generators, strict=True):
            generator.manual_seed(seed_of(run.training.seed, run.curve.epoch + 1, 0))
        meters, examples = self._train()
        self._model.scatter()
        self._optimizer.scatter()
        seconds = time.perf_counter() - start - self._timing_s
        outcomes: list[dict[str, float] | Diverged] = []
        for run, meter in zip(self._runs, meters, strict=True):
            loss = meter.loss_so_far
            if not math.isfinite(loss):
                outcomes.append(Diverged(run.curve.epoch + 1, loss))
                continue
            began = time.perf_counter()
            validated = run.training.evaluate("val")
            share = seconds / len(self._runs)
            outcomes.append(
                {
                    **{f"train/{k}": v for k, v in meter.result().items()},
                    **{f"val/{k}": v for k, v in validated.items()},
                    **run.training.rates(run.curve.epoch + 1, run.curve.plateau.factor),
                    "epoch_s": share + time.perf_counter() - began,
                    "samples_per_s": examples / share,
                    "peak_memory_mb": peak_memory_mb(self._device),
                    **self._fused(share),
                }
            )
        return outcomes

    def _fused(self, share_s: float) -> dict[str, float]:
        if len(self._runs) == 1:
            return {}
        spared = {} if self._gain is None else {"spared_s": (self._gain - 1.0) * share_s}
        return {"fused": float(len(self._runs)), **spared}

    def _train(self) -> tuple[list[Meter], int]:
        trainings = [run.training for run in self._runs]
        meters = [t.train_meter() for t in trainings]
        feeds = [
            t.train_batches(run.curve.epoch + 1)
            for t, run in zip(trainings, self._runs, strict=True)
        ]
        examples = 0
        for step, batches in enumerate(zip(*feeds, strict=True)):
            for index, (run, t) in enumerate(zip(self._runs, trainings, strict=True)):
                done = run.curve.epoch * t.steps_per_epoch + step
                bases = [group["base_lr"] for group in t.optimizer.param_groups]
                now = [t.rate(base, done, run.curve.plateau.factor) for base in bases]
                self._optimizer.rates[index] = now
            step_ = self._step if self._alone is None else self._timed_step
            examples += step_(batches, meters)
        return meters, examples

    def _timed_step(self, batches: tuple[Batch, ...], meters: list[Meter]) -> int:
        assert self._alone is not None
        synchronize(self._device)
        start = time.perf_counter()
        examples = self._step(batches, meters)
        synchronize(self._device)
        between = time.perf_counter()
        self._gain = self._alone.step((between - start) / len(self._runs))
        if self._gain is not None:
            self._alone = None
        self._timing_s += time.perf_counter() - between
        return examples

    def _step(self, batches: tuple[Batch, ...], meters: list[Meter]) -> int:
        tokens = self._runs[0].training.shape.tokens
        tensors = [to_device(batch, self._device, tokens=tokens) for batch in batches]
        outputs = self._model(torch.stack([t.x for t in tensors]))
        losses: list[Tensor] = []
        for output, batch, meter in zip(outputs, tensors, meters, strict=True):
            total, count = meter.loss(output, batch.y, batch.lengths)
            losses.append(total / max(count, 1.0))
        self._optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step([run.training.train.grad_clip for run in self._runs])
        return tensors[0].size


class _Alone:
    """A model of one run, thrown away later, that takes a few steps beside those of the crowd.

    Both are timed in turns, so that what else the machine does counts for both.
    """

    def __init__(self, run: Run) -> None:
        self._training = run.fresh_training()
        self._meter = self._training.train_meter()
        self._batches = self._training.train_batches(1)
        self._gains: list[float] = []

    def step(self, share_s: float) -> float | None:
        """Take a step after the crowd has taken one of `share_s` seconds for each run.

        Returns how many times longer one takes alone, once that is known.
        """
        batch = next(self._batches)
        with seeded(self._training.device, 0):
            start = time.perf_counter()
            self._training.step((batch,), self._meter)
            synchronize(self._training.device)
            self._gains.append((time.perf_counter() - start) / share_s)
        # The first is not counted: much is done once.
        return statistics.median(self._gains[1:]) if len(self._gains) > TIMED_STEPS else None
