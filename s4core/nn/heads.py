"""The two ends of a model: encoders from x to d_model channels, decoders from there to the answer.

A decoder has the same three ways to run as the rest: with `step` it says after every step what it
would answer if the sequence ended there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.config import TaskShape
from s4core.nn import layout
from s4core.nn.activation import ACTIVATIONS
from s4core.nn.options import StackOptions


class Encoder(nn.Module):
    """Map x (B, L, d_input) floats or (B, L) tokens to (B, L, d_model).

    onehot is a linear map of one-hot vectors (S5), a row of the matrix for each token.
    """

    def __init__(self, options: StackOptions, shape: TaskShape, d_input: int) -> None:
        super().__init__()
        kind = options.encoder
        if kind == "auto":
            kind = "embedding" if shape.tokens else "linear"
        if shape.tokens != (kind in ("embedding", "onehot")):
            what = "tokens" if shape.tokens else "floats"
            raise ValueError(f"encoder {kind!r} does not take the {what} of this task: use auto.")
        if kind == "identity" and d_input != options.d_model:
            raise ValueError(
                f"encoder 'identity' needs d_model = {d_input}, got {options.d_model}."
            )
        self.kind, self.position, self.p = kind, options.position, options.dropout_input
        if kind == "embedding":
            self.embedding = nn.Embedding(d_input, options.d_model)
        elif kind != "identity":
            self.linear = nn.Linear(d_input, options.d_model)
        if options.position == "learned":
            self.table = nn.Parameter(0.02 * torch.randn(shape.length, options.d_model))
        elif options.position == "sinusoid":
            self.register_buffer(
                "table", _sinusoids(shape.length, options.d_model), persistent=False
            )

    def forward(self, x: Tensor, start: int = 0, rate: float = 1.0) -> Tensor:
        """Encode a sequence whose first step is number `start`; the memory is that of (H, B, L).

        At `rate`, step k stands at position rate * k of the training grid.
        """
        h = self._encode_sequence(x)
        if self.position != "none":
            h = h + self._positions(start, h.shape[1], rate).to(h.dtype)
        return F.dropout(h, self.p, self.training)

    def step(self, x: Tensor, number: int) -> Tensor:
        """Encode step `number`: x (B, d_input) or (B,) tokens."""
        h = self._encode(x)
        return h if self.position == "none" else h + self._positions(number, 1, 1.0).to(h.dtype)

    def _positions(self, start: int, steps: int, rate: float) -> Tensor:
        """Rows of the table, (steps, H); between two of them their mean by distance."""
        last, most = len(self.table) - 1, round(len(self.table) / rate)
        if start + steps > most:
            raise ValueError(
                f"this model knows the positions of {most} steps, so it cannot go on to step "
                f"{start + steps}: build it with a longer shape."
            )
        if rate == 1.0:
            return self.table[start : start + steps]
        at = rate * torch.arange(start, start + steps, device=self.table.device)
        below = at.long().clamp(max=last)
        share = (at - below).to(self.table.dtype)[:, None]
        return torch.lerp(self.table[below], self.table[(below + 1).clamp(max=last)], share)

    def _encode_sequence(self, x: Tensor) -> Tensor:
        if self.kind == "linear":
            return layout.h_last(layout.linear(self.linear, layout.h_first(x)))
        rows = self._encode(x).flatten(0, 1)
        return layout.h_last(rows.t().contiguous().view(rows.shape[1], *x.shape[:2]))

    def _encode(self, x: Tensor) -> Tensor:
        if self.kind == "identity":
            return x
        if self.kind == "embedding":
            return _rows(self.embedding.weight, x)
        if self.kind == "onehot":
            return _rows(self.linear.weight.t(), x) + self.linear.bias
        return F.linear(x, self.linear.weight, self.linear.bias)


def _rows(table: Tensor, tokens: Tensor) -> Tensor:
    """The row of each token; ValueError for one that has none (a GPU dies of it)."""
    try:
        return F.embedding(tokens, table)
    except IndexError as error:
        raise ValueError(
            f"want tokens from 0 to {len(table) - 1}, got some from {int(tokens.min())} to "
            f"{int(tokens.max())}."
        ) from error


def _sinusoids(length: int, d_model: int) -> Tensor:
    """Sines and cosines, (length, d_model).  Source: arXiv:1706.03762, section 3.5."""
    angle = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model)
    )
    table = torch.zeros(length, d_model)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle[:, : d_model // 2])
    return table


class Readout(nn.Module):
    """The last linear map; for pairs the joint features of two documents first.

    pairs: rows 0..B-1 of (2 B, H) are the first documents; nli features [a, b, a - b, a b] or
    [a, b] -> Linear(d_model) -> activation -> Linear.  Source: LRA, arXiv:2011.04006, section 2.3.
    """

    def __init__(self, d_model: int, shape: TaskShape, options: StackOptions) -> None:
        super().__init__()
        self.pairs, self.features = shape.pairs, options.retrieval_features
        self.activation = ACTIVATIONS[options.retrieval_activation]
        if shape.pairs:
            width = 4 if self.features == "nli" else 2
            self.join = nn.Linear(width * d_model, d_model)
        self.linear = nn.Linear(d_model, shape.d_output)

    def forward(self, h: Tensor) -> Tensor:
        """Map (..., H) to (..., d_output); of pairs (2 B, H) to (B, d_output)."""
        if self.pairs:
            a, b = h.chunk(2)
            parts = [a, b, a - b, a * b] if self.features == "nli" else [a, b]
            h = self.activation(self.join(torch.cat(parts, dim=-1)))
        out: Tensor = self.linear(h)
        return out


class Decoder(nn.Module):
    """Answer once a sequence (pooling over its valid steps) or at every step (no pooling)."""

    def __init__(self, d_model: int, shape: TaskShape, options: StackOptions) -> None:
        super().__init__()
        self.each_step = shape.target in ("step_class", "step_value")
        if self.each_step and shape.pairs:
            raise ValueError("a task of pairs has one answer a pair, not one a step.")
        self.pooling, self.d_model = options.pooling, d_model
        self.readout = Readout(d_model, shape, options)

    def forward(self, h: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map (B, L, H) to (B, d_output), or (B, L, d_output) for an answer at every step."""
        return self.readout(h if self.each_step else self._pool(h, lengths))  # type: ignore[no-any-return]

    def nothing(self, length: int) -> Tensor:
        """An encoded batch of no sequences."""
        return self.readout.linear.weight.new_zeros(0, length, self.d_model)

    def initial_state(self, batch: int) -> Any:
        """Make what pooling remembers: (sum or newest step (B, H), steps seen)."""
        weight = self.readout.linear.weight
        return weight.new_zeros(batch, self.d_model), 0

    def step(self, h: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """Answer after one more step (B, H); None where no step came out of the stack."""
        kept, count = state
        if h is not None:
            kept, count = self._remember(kept, count, h), count + 1
        return self.readout(self._recall(kept, count)), (kept, count)

    def forward_with_state(self, h: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Answer after a piece (B, L, H) more."""
        if self.each_step:
            return self.readout(h), state
        kept, count = state
        if h.shape[1]:
            if self.pooling in ("mean", "sum"):
                kept = kept + h.sum(1)
            elif self.pooling == "last" or count == 0:
                kept = h[:, -1 if self.pooling == "last" else 0]
            count += h.shape[1]
        return self.readout(self._recall(kept, count)), (kept, count)

    def _remember(self, kept: Tensor, count: int, h: Tensor) -> Tensor:
        if self.each_step or self.pooling == "last":
            return h
        if self.pooling == "first":
            return h if count == 0 else kept
        return kept + h

    def _recall(self, kept: Tensor, count: int) -> Tensor:
        mean = self.pooling == "mean" and not self.each_step
        return kept / max(count, 1) if mean else kept

    def _pool(self, h: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            if self.pooling in ("first", "last"):
                return h[:, 0 if self.pooling == "first" else -1]
            # Over the last axis, so that the gradient gets the memory of the stack's sequences.
            rows = layout.h_first(h)
            return (rows.mean(2) if self.pooling == "mean" else rows.sum(2)).t()
        # A sequence of no steps gets 0: not 0/0, and not what its padding happens to be.
        if self.pooling in ("first", "last"):
            last = (lengths - 1).clamp_min(0)
            every = torch.arange(h.shape[0], device=h.device)
            step = h[:, 0] if self.pooling == "first" else h[every, last]
            return torch.where(lengths[:, None] > 0, step, 0.0)
        valid = torch.arange(h.shape[1], device=h.device) < lengths[:, None]
        total = torch.where(valid[..., None], h, 0.0).sum(1)
        return total / lengths.clamp_min(1)[:, None] if self.pooling == "mean" else total
