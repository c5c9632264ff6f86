"""Metrics as sums over examples: right over uneven batches, and over processes by adding up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from s4core.config import TaskShape
from s4core.train.losses import ValueLoss, loss_sum, valid_pairs

# Sums divided by the number of terms.
Means = Mapping[str, Tensor]

_TOP = {f"accuracy@{k}": k for k in (2, 3, 5, 10)}
_CLASS_EXTRAS = (*_TOP, "f1", "balanced_accuracy")
_VALUE_EXTRAS = ("r2",)

_KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "class": (("loss", "accuracy"), _CLASS_EXTRAS),
    "step_class": (("loss", "accuracy", "perplexity", "bits"), _CLASS_EXTRAS),
    "value": (("loss", "mse", "rmse", "mae"), _VALUE_EXTRAS),
    "step_value": (("loss", "mse", "rmse", "mae"), _VALUE_EXTRAS),
}

# Which of them are better when they are smaller.
COSTS = ("loss", "perplexity", "bits", "mse", "rmse", "mae")

# What TrainConfig.metrics may ask for, beside what every task of a kind reports.
METRICS: tuple[str, ...] = (*_CLASS_EXTRAS, *_VALUE_EXTRAS)


def reported(shape: TaskShape, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Names that a `Meter` for this task gives, `loss` first; raises ValueError if one cannot be.

    class: loss, accuracy. step_class: also perplexity and bits (per step). value: loss, mse, rmse,
    mae. Extra: accuracy@k, f1 and balanced_accuracy (means over the classes); r2.
    """
    names, allowed = _KINDS[shape.target]
    for name in extra:
        if name not in allowed:
            raise ValueError(
                f"metric {name!r} needs another target than {shape.target!r}: "
                f"choose from {', '.join(allowed)}."
            )
        if name in _TOP and _TOP[name] > shape.d_output:
            raise ValueError(f"metric {name!r} needs more than the {shape.d_output} classes.")
    return names + tuple(n for n in extra if n not in names)


class Meter:
    """Adds up what the metrics of one pass need; `result` makes numbers of it."""

    def __init__(
        self,
        shape: TaskShape,
        *,
        device: torch.device | str = "cpu",
        extra: Sequence[str] = (),
        label_smoothing: float = 0.0,
        value_loss: ValueLoss = "mse",
    ) -> None:
        self.names = reported(shape, extra)
        self._shape = shape
        self._smoothing = label_smoothing
        self._value_loss: ValueLoss = value_loss
        self._count = 0.0
        n = shape.d_output
        sizes: dict[str, tuple[int, ...]] = {"loss": ()}
        if shape.target.endswith("value"):
            sizes |= dict.fromkeys(("squared", "absolute", "y", "y_squared"), (n,))
        else:
            sizes |= dict.fromkeys(("correct", *(name for name in self.names if name in _TOP)), ())
            if not {"f1", "balanced_accuracy"}.isdisjoint(self.names):
                sizes["confusion"] = (n, n)
        self._sums = {
            name: torch.zeros(size, dtype=torch.float64, device=device)
            for name, size in sizes.items()
        }

    def loss(self, output: Tensor, y: Tensor, lengths: Tensor | None) -> tuple[Tensor, float]:
        """Add a batch; return its summed loss, with gradient, and the number of its terms."""
        output, y = valid_pairs(output, y, lengths, shape=self._shape)
        total = loss_sum(output, y, label_smoothing=self._smoothing, value_loss=self._value_loss)
        with torch.no_grad():
            count = float(y.shape[0])
            self._count += count
            self._sums["loss"] += total.detach()
            if y.is_floating_point():
                self._add_values(output.detach().double(), y.double())
            else:
                self._add_classes(output.detach(), y)
        return total, count

    def reduce(self) -> None:
        """Add up over the processes of torch.distributed."""
        count = self._sums["loss"].new_tensor(self._count)
        dist.all_reduce(count)
        self._count = float(count)
        for total in self._sums.values():
            dist.all_reduce(total)

    def result(self) -> dict[str, float]:
        """The metrics by name; NaN if nothing was added."""
        if self._count == 0:
            return dict.fromkeys(self.names, math.nan)
        means = {name: total / self._count for name, total in self._sums.items()}
        return {name: _METRIC[name](means) for name in self.names}

    @property
    def loss_so_far(self) -> float:
        """The summed loss (waits for the device): is it still a number?"""
        return float(self._sums["loss"])

    def _add_classes(self, output: Tensor, y: Tensor) -> None:
        guess = output.argmax(-1)
        self._sums["correct"] += (guess == y).sum()
        for name in self.names:
            if name in _TOP:
                hits = output.topk(_TOP[name], dim=-1).indices == y[:, None]
                self._sums[name] += hits.sum()
        if "confusion" in self._sums:
            classes = self._shape.d_output
            pairs = torch.bincount(y * classes + guess, minlength=classes * classes)
            self._sums["confusion"] += pairs.view(classes, classes)

    def _add_values(self, output: Tensor, y: Tensor) -> None:
        error = output - y
        self._sums["squared"] += error.square().sum(0)
        self._sums["absolute"] += error.abs().sum(0)
        self._sums["y"] += y.sum(0)
        self._sums["y_squared"] += y.square().sum(0)


def _mean(name: str) -> Callable[[Means], float]:
    return lambda m: float(m[name].mean())


def _perplexity(m: Means) -> float:
    # exp of a bad loss overflows; infinity would not be a number that a report may hold.
    return math.exp(min(float(m["loss"]), 700.0))


def _recall(m: Means) -> float:
    """Mean over the classes that occur of the share found."""
    there = m["confusion"].sum(1)
    return float((m["confusion"].diagonal()[there > 0] / there[there > 0]).mean())


def _f1(m: Means) -> float:
    """Macro F1: the mean over the classes that occur or were guessed of 2 TP / (true + guessed)."""
    both = m["confusion"].sum(1) + m["confusion"].sum(0)
    return float((2 * m["confusion"].diagonal()[both > 0] / both[both > 0]).mean())


def _r2(m: Means) -> float:
    """Mean over the outputs of the share of variance explained.

    Of an output that never varies 1 if it is met exactly, else 0, as in scikit-learn.
    """
    variance = m["y_squared"] - m["y"].square()
    varies = variance > 1e-12 * m["y_squared"]  # what rounding leaves of none
    share = torch.where(varies, 1 - m["squared"] / variance, 1.0 * (m["squared"] == 0))
    return float(share.mean())


_METRIC: Mapping[str, Callable[[Means], float]] = {
    "loss": _mean("loss"),
    "accuracy": _mean("correct"),
    "perplexity": _perplexity,
    "bits": lambda m: float(m["loss"]) / math.log(2),
    "mse": _mean("squared"),
    "rmse": lambda m: math.sqrt(_mean("squared")(m)),
    "mae": _mean("absolute"),
    "f1": _f1,
    "balanced_accuracy": _recall,
    "r2": _r2,
    **{name: _mean(name) for name in _TOP},
}
