"""One model in training: an epoch at a time, its state as plain data in between.

Randomness of an epoch is a function of (seed, epoch, rank), so no generator state has to be kept
and nobody else's is touched. Under torch.distributed each process takes its share of the batches;
gradients and metrics are those of the whole batch.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from s4core.config import ConfigError, TaskShape
from s4core.models import build
from s4core.train.backend import on_backend
from s4core.train.config import TrainConfig
from s4core.train.data import Batch, Tensors, TrainData, to_device
from s4core.train.errors import Diverged
from s4core.train.measure import peak_memory_mb, reset_peak_memory
from s4core.train.metrics import Meter
from s4core.train.optim import build_optimizer, state_kind, take_over
from s4core.train.schedules import learning_rate

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Steps between two looks at the loss: each look waits for a GPU to finish.
_LOOK_EVERY = 50


@contextlib.contextmanager
def seeded(device: torch.device, *numbers: int) -> Iterator[None]:
    """Draw from torch's global generators as if seeded by `numbers`; put them back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(*numbers))
        yield


def seed_of(*numbers: int) -> int:
    """A seed that is a function of all the numbers (each >= 0)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def rank_and_world() -> tuple[int, int]:
    """Which process this is, of how many; (0, 1) outside of torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class Training:
    """The model of `config` with its optimiser; `train_epoch` changes it, `state` tells all of it.

    model: the bare module. Raises ConfigError for a model that cannot be built.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        shape: TaskShape,
        train: TrainConfig,
        data: TrainData,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.shape, self.train, self.data = shape, train, data
        self.seed, self.device = seed, device
        self.rank, self.world = rank_and_world()
        with seeded(device, seed):
            self.model = build(config, shape).to(device)
        self.optimizer = build_optimizer(self.model, train)
        self._ema = _average(self.model, train.ema) if train.ema else None
        self._scaler = torch.amp.GradScaler(device.type, enabled=train.precision == "fp16")
        forward: nn.Module = self.model
        if self.world > 1:
            forward = DistributedDataParallel(self.model)
        self._wrapped, self._forward = forward, on_backend(forward, train.backend, device)
        if data.size("train") < 1:
            raise ConfigError("data.train", "there is no example to train with.")
        batches = math.ceil(data.size("train") / (train.batch_size * self.world))
        self.steps_per_epoch = math.ceil(batches / train.accumulate)

    @property
    def evaluated(self) -> nn.Module:
        """The model whose scores count: the averaged weights if there are any."""
        return self.model if self._ema is None else self._ema.module

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": state_kind(self.train),
            "scaler": self._scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` told; rates, decays and betas stay those of this run's settings.

        An optimiser of another kind begins anew.
        Raises ValueError or RuntimeError if it is the state of another model.
        """
        self.model.load_state_dict(state["model"])
        kind = state_kind(self.train)
        is_alike = state.get("optimizer_kind", kind) == kind
        take_over(self.optimizer, state["optimizer"], with_state=is_alike)
        if state["scaler"]:  # empty where it was off
            self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            # Averaging that begins now begins with the weights as they are.
            if state["ema"] is None:
                self._ema.update_parameters(self.model)
            else:
                self._ema.load_state_dict(state["ema"])

    def run_epoch(self, epoch: int, *, plateau: float) -> dict[str, float]:
        """Train `epoch` (from 1), then look at the validation split; return all its metrics.

        plateau: factor on the rates, see schedules.py. Raises Diverged.
        """
        start = time.perf_counter()
        reset_peak_memory(self.device)
        with seeded(self.device, self.seed, epoch, self.rank):
            trained, examples = self._train_epoch(epoch, plateau)
        trained_s = time.perf_counter() - start
        validated = self.evaluate("val")
        return {
            **{f"train/{k}": v for k, v in trained.items()},
            **{f"val/{k}": v for k, v in validated.items()},
            **self.rates(epoch, plateau),
            "epoch_s": time.perf_counter() - start,
            "samples_per_s": examples / trained_s,
            "peak_memory_mb": peak_memory_mb(self.device),
        }

    def rates(self, epoch: int, plateau: float) -> dict[str, float]:
        """The rates that the last step of `epoch` uses, as metrics."""
        step = epoch * self.steps_per_epoch - 1
        return {
            "lr": self.rate(self.train.lr, step, plateau),
            "lr/ssm": self.rate(self.train.ssm_rate, step, plateau),
        }

    def rate(self, base: float, step: int, plateau: float) -> float:
        """The rate that step `step` (from 0, over all epochs) uses for the full rate `base`."""
        return learning_rate(
            self.train, base, step=step, steps_per_epoch=self.steps_per_epoch, plateau=plateau
        )

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch of training."""
        return self._batches("train", batch_size=self.train.batch_size, epoch=epoch, shuffle=True)

    def train_meter(self) -> Meter:
        """A meter of the loss that is trained."""
        return self._meter((), self.train.label_smoothing)

    def evaluate(self, split: str) -> dict[str, float]:
        """Score the evaluated model on a split."""
        meter = self._meter(self.train.metrics)
        size = self.train.eval_batch_size or self.train.batch_size
        self.evaluated.eval()
        if self.world > 1:
            # Running statistics are those of each process's own batches until they are shared.
            for buffer in self.evaluated.buffers():
                dist.broadcast(buffer, src=0)
        plain = self._ema is not None or self.train.backend == "eager"
        model = self.evaluated if plain else self._forward
        with torch.no_grad():
            for batch in self._batches(split, batch_size=size, epoch=0, shuffle=False):
                tensors = to_device(batch, self.device, tokens=self.shape.tokens)
                meter.loss(self._output(model, tensors), tensors.y, tensors.lengths)
        if self.world > 1:
            meter.reduce()
        return meter.result()

    def _train_epoch(self, epoch: int, plateau: float) -> tuple[dict[str, float], int]:
        self._wrapped.train()
        meter = self.train_meter()
        examples = 0
        groups = _groups(self.train_batches(epoch), self.train.accumulate)
        for index, group in enumerate(groups):
            step = (epoch - 1) * self.steps_per_epoch + index
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = self.rate(parameters["base_lr"], step, plateau)
            examples += self.step(group, meter)
            if index % _LOOK_EVERY == 0 and self.world == 1:
                _look(meter, epoch)
        if self.world > 1:
            meter.reduce()
        _look(meter, epoch)
        return meter.result(), examples * self.world

    def step(self, batches: tuple[Batch, ...], meter: Meter) -> int:
        """One optimiser step on the mean loss over the batches; return the number of examples."""
        self.optimizer.zero_grad(set_to_none=True)
        examples, unit, terms = 0, 0.0, 0.0
        for index, batch in enumerate(batches):
            tensors = to_device(batch, self.device, tokens=self.shape.tokens)
            is_last = index == len(batches) - 1
            with self._no_sync(not is_last):
                output = self._output(self._forward, tensors)
                total, count = meter.loss(output, tensors.y, tensors.lengths)
                unit = unit or self._unit(count)
                self._scaler.scale(total / unit).backward()  # type: ignore[no-untyped-call]
            terms += count
            examples += tensors.size
        self._scaler.unscale_(self.optimizer)
        self._scale_gradients(unit, terms)
        if self.train.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.train.grad_clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._ema is not None:
            self._ema.update_parameters(self.model)
        return examples

    def _unit(self, count: float) -> float:
        """What sums of losses are divided by before the backward: equal over processes, near 1."""
        if self.world == 1:
            return max(count, 1.0)
        steps = self.shape.length if self.shape.target.startswith("step") else 1
        return float(self.train.batch_size * steps)

    def _scale_gradients(self, unit: float, terms: float) -> None:
        """Make gradients of sum / unit (averaged over processes) those of the mean over all."""
        if self.world > 1:
            everywhere = torch.tensor(terms, dtype=torch.float64, device=self.device)
            dist.all_reduce(everywhere)
            terms = float(everywhere) / self.world
        if terms not in (unit, 0.0):
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(unit / terms)

    def _output(self, model: Any, batch: Tensors) -> Tensor:
        dtype = _DTYPES[self.train.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            output = model(batch.x, lengths=batch.lengths, rate=batch.rate, dt=batch.dt)
        assert isinstance(output, Tensor)
        return output

    def _batches(
        self, split: str, *, batch_size: int, epoch: int, shuffle: bool
    ) -> Iterator[Batch]:
        share = {"rank": self.rank, "world": self.world} if self.world > 1 else {}
        return self.data.batches(
            split, batch_size=batch_size, epoch=epoch, seed=self.seed, shuffle=shuffle, **share
        )

    def _meter(self, extra: tuple[str, ...], label_smoothing: float = 0.0) -> Meter:
        return Meter(
            self.shape,
            device=self.device,
            extra=extra,
            label_smoothing=label_smoothing,
            value_loss=self.train.value_loss,
        )

    def _no_sync(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        if wanted and isinstance(self._wrapped, DistributedDataParallel):
            return self._wrapped.no_sync()
        return contextlib.nullcontext()


def _groups(batches: Iterator[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    while group := tuple(itertools.islice(batches, size)):
        yield group


def _look(meter: Meter, epoch: int) -> None:
    loss = meter.loss_so_far
    if not math.isfinite(loss):
        raise Diverged(epoch, loss)


def _average(model: nn.Module, decay: float) -> AveragedModel:
    """Average the weights; the decay grows to its full value, so that the first ones fade soon."""

    def update(averages: Any, weights: Any, count: Any) -> None:
        if not weights[0].is_floating_point():
            torch._foreach_copy_(list(averages), list(weights))  # a counter, say
            return
        young = (1.0 + float(count)) / (10.0 + float(count))
        torch._foreach_lerp_(list(averages), list(weights), 1.0 - min(decay, young))

    # Buffers too: batch norm statistics of the newest weights do not fit the averaged ones.
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
