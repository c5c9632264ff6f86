"""Normalisation over channels-outermost sequences, and of a single step.

LayerNorm is written over the first axis, where `F.layer_norm` would first copy the tensor.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn import fused_output

NormName = Literal["layer", "batch", "rms", "scalar", "instance", "group", "none"]


class Norm(nn.Module):
    """Normalise (H, B, L) sequences or (B, H) steps, H = d_model channels.

    layer: over the channels of each step, weight and bias; rms: the same without mean and bias;
    scalar: SaShiMi's, y = s (x - mean + m) / std with scalars s and m; batch: over batch and time,
    running statistics in eval mode and in `step`; instance: over the time of each sequence and
    channel; group: over time and all channels (these two cannot step).
    momentum is torch's: running = (1 - momentum) running + momentum batch.
    """

    def __init__(
        self,
        kind: NormName,
        d_model: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.kind, self.eps, self.momentum = kind, eps, momentum
        self.biased_running_var = False
        size = 1 if kind == "scalar" else d_model
        if kind != "none":
            self.weight = nn.Parameter(torch.ones(size))
        if kind not in ("none", "rms"):
            self.bias = nn.Parameter(torch.zeros(size))
        if kind == "batch":
            self.register_buffer("running_mean", torch.zeros(d_model))
            self.register_buffer("running_var", torch.ones(d_model))
        self.running_mean: Tensor
        self.running_var: Tensor

    def check_steps(self) -> None:
        """Raise ValueError if one step cannot be normalised without the others."""
        if self.kind in ("instance", "group"):
            raise ValueError(f"norm {self.kind!r} looks at the whole sequence, so it cannot step.")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (H, B, L)."""
        if self.kind == "none" or x.numel() == 0:
            return x
        if self.kind == "batch":
            return self._batch(x)
        if self.kind in ("instance", "group"):
            if self.kind == "instance" and x.shape[2] == 1:
                return self._of_one_value(x)
            groups = x.shape[0] if self.kind == "instance" else 1
            normed = F.group_norm(x.transpose(0, 1), groups, self.weight, self.bias, self.eps)
            return normed.transpose(0, 1)
        if self.kind == "layer" and fused_output.applies(x):
            return fused_output.layer_norm(x, None, self.weight, self.bias, self.eps)
        return self._over_channels(x, 0)

    def of_sum(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise x + y, both (H, B, L)."""
        if self.kind == "layer" and fused_output.applies(x):
            return fused_output.layer_norm(x, y, self.weight, self.bias, self.eps)
        return self(x + y)  # type: ignore[no-any-return]

    def after(self, x: Tensor) -> fused_output.Sum | None:
        """What the fused output stage needs to normalise its sum with x; None: it cannot."""
        if self.kind != "layer":
            return None
        return fused_output.Sum(x, self.weight, self.bias, self.eps)

    def step(self, x: Tensor) -> Tensor:
        """Normalise one step x (B, H); batch norm by its running statistics."""
        if self.kind == "none":
            return x
        if self.kind == "batch":
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            return torch.addcmul(self.bias - self.running_mean * scale, x, scale)
        if self.kind == "layer":
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        if self.kind == "rms":
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        self.check_steps()
        return self._over_channels(x, -1)

    def _over_channels(self, x: Tensor, axis: int) -> Tensor:
        shape = (-1,) + (1,) * (x.ndim - 1) if axis == 0 else (-1,)
        weight = self.weight.view(shape)
        if self.kind == "rms":
            return x * torch.rsqrt(x.square().mean(axis, keepdim=True) + self.eps) * weight
        bias = self.bias.view(shape)
        centred = x - x.mean(axis, keepdim=True)
        variance = centred.square().mean(axis, keepdim=True)
        if self.kind == "scalar":
            # The published form divides by 0 on a constant step; the floor only acts there.
            return (centred + bias) * (weight * torch.rsqrt(variance.clamp_min(1e-12)))
        return centred * torch.rsqrt(variance + self.eps) * weight + bias

    def _of_one_value(self, x: Tensor) -> Tensor:
        # One value has no variance: torch raises, and the bias is what the formula gives.
        return (x - x) + self.bias.view(-1, 1, 1)

    def _batch(self, x: Tensor) -> Tensor:
        flat = x.reshape(1, x.shape[0], -1)
        count = flat.shape[-1]
        if self.training and count == 1:
            return self._of_one_value(x)
        # Backward keeps what it was given, so the flax form updates a copy.
        var = self.running_var.clone() if self.biased_running_var else self.running_var
        out = F.batch_norm(
            flat, self.running_mean, var, self.weight, self.bias,
            self.training, self.momentum, self.eps,
        )  # fmt: skip
        if self.training and self.biased_running_var:
            # Flax keeps the biased variance in its running mean, torch the unbiased one.
            kept = (1.0 - self.momentum) * self.running_var
            self.running_var.copy_(kept + (var - kept) * ((count - 1) / count))
        return out.view(x.shape)
