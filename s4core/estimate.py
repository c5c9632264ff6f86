"""What a model will need before it is trained: parameters and memory, without a GPU or a long run.

The model is built once at its true size (a millisecond to a second on a CPU; not on the meta
device, since the eigenvalues that S4 starts from must be computed). What the backward pass keeps
grows with batch size B and length L as a + b B + c L + d B L: four small forward passes fix the
four numbers, and the rest is arithmetic. Over the models of this package it is within 5 % of the
truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from s4core.config import TaskShape
from s4core.models import build

# Weights, gradients and the two averages of Adam, in float32.
BYTES_PER_PARAMETER = 16
_BATCHES = (1, 2)
# Long enough to stand on the side of most choices by length (FFTs or Krylov) that training takes.
_LENGTHS = (256, 512)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """parameters: trained numbers; state_bytes: weights, gradients and optimiser;
    activation_bytes: what the backward pass keeps of one batch in float32."""

    parameters: int
    state_bytes: int
    activation_bytes: int

    @property
    def training_bytes(self) -> int:
        """What training holds at least; temporaries of a step come on top."""
        return self.state_bytes + self.activation_bytes


def estimate(config: Any | Mapping[str, Any], shape: TaskShape, *, batch_size: int) -> Estimate:
    """Count parameters and estimate memory; raises ConfigError for a model that cannot be."""
    with torch.random.fork_rng(devices=[]):
        model = build(config, shape)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Estimate(
        parameters=parameters,
        state_bytes=parameters * BYTES_PER_PARAMETER,
        activation_bytes=_activations(config, shape, batch_size),
    )


def _activations(config: Any, shape: TaskShape, batch_size: int) -> int:
    if shape.length <= _LENGTHS[1] or shape.axes:
        # Short sequences as they are; extents of several axes cannot be shortened.
        one, two = (_saved_bytes(config, shape, b) for b in _BATCHES)
        return int(one + (two - one) * (batch_size - 1))
    small, large = _LENGTHS
    saved = {
        (b, length): _saved_bytes(config, dataclasses.replace(shape, length=length), b)
        for b in _BATCHES
        for length in _LENGTHS
    }

    def at(length_weight: float, b: int) -> float:
        return saved[b, small] + length_weight * (saved[b, large] - saved[b, small])

    weight = (shape.length - small) / (large - small)
    first, second = at(weight, 1), at(weight, 2)
    return int(first + (second - first) * (batch_size - 1))


def _saved_bytes(config: Any, shape: TaskShape, batch: int) -> int:
    """Bytes that autograd keeps after one forward pass, parameters not counted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config, shape)
        inputs = _inputs(shape, batch)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    # Kept alive until the count is done: a freed address would be given out again.
    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = _forward(model, shape, inputs)
    del output
    return sum(kept.values())


def _inputs(shape: TaskShape, batch: int) -> Tensor:
    rows = batch * 2 if shape.pairs else batch
    if shape.tokens:
        return torch.zeros((rows, shape.length), dtype=torch.int64)
    return torch.zeros((rows, shape.length, shape.d_input))


def _forward(model: nn.Module, shape: TaskShape, x: Tensor) -> Tensor:
    lengths = torch.full((x.shape[0],), shape.length) if shape.ragged else None
    dt = torch.ones(x.shape[:2]) if shape.irregular else None
    output: Tensor = model(x, lengths=lengths, dt=dt)
    return output
