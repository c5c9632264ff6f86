"""A short causal filter for every channel, as H3, S6 and SSD have it before their systems."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShortConv(nn.Module):
    """y_t = sum_k w_k x_{t - taps + 1 + k} + b, for every channel; weight (d_model, taps)."""

    def __init__(self, d_model: int, taps: int) -> None:
        super().__init__()
        bound = taps**-0.5
        self.weight = nn.Parameter(torch.empty(d_model, taps).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Filter whole sequences x (B, L, H)."""
        return self.forward_with_state(x, self.initial_state(x.shape[0]).to(x.dtype))[0]

    def initial_state(self, batch: int) -> Tensor:
        """Make the taps - 1 steps before the first one, zeros (B, taps - 1, H)."""
        return self.weight.new_zeros(batch, self.weight.shape[1] - 1, self.weight.shape[0])

    def forward_with_state(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Filter a piece x (B, l, H) after the steps of `state`."""
        history = torch.cat([state, x], dim=1)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        y = F.conv1d(history.transpose(1, 2), weight[:, None], bias, groups=weight.shape[0])
        return y.transpose(1, 2), history[:, x.shape[1] :]

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Filter one step x (B, H)."""
        history = torch.cat([state, x[:, None]], dim=1)
        return (history * self.weight.t()).sum(1) + self.bias, history[:, 1:]
