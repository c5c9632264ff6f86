"""How a block joins its branch y with its input x; `index` counts the blocks from 1.

Source: the residual functions of the official S4 code, by their formulas.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ResidualName = Literal["add", "none", "highway", "affine", "decay"]


class Residual(nn.Module):
    """Join x and y of any one shape with the channels on `axis`.

    add x + y; none y; highway (1 - r) x + r W_y y, r = sigmoid(W_x x + W_y y); affine x + c y, c a
    learned scalar (starts at 1); decay alpha x + beta y with beta = index^-1/2 and
    alpha^2 + beta^2 = 1.
    """

    def __init__(self, kind: ResidualName, d_model: int, index: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "highway":
            self.from_x, self.from_y = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        if kind == "affine":
            self.scale = nn.Parameter(torch.ones(1))
        self.beta = index**-0.5
        self.alpha = (1.0 - self.beta**2) ** 0.5

    def forward(self, x: Tensor, y: Tensor, axis: int = 0) -> Tensor:
        """Join x and y."""
        if self.kind == "add":
            return x + y
        if self.kind == "highway":
            x_last, y_last = x.movedim(axis, -1), y.movedim(axis, -1)
            y_mixed = F.linear(y_last, self.from_y.weight, self.from_y.bias)
            r = torch.sigmoid(F.linear(x_last, self.from_x.weight, self.from_x.bias) + y_mixed)
            # Autocast leaves lerp alone, which wants one dtype.
            y_mixed, r = y_mixed.to(x.dtype), r.to(x.dtype)
            return torch.lerp(x_last, y_mixed, r).movedim(-1, axis)
        if self.kind == "affine":
            return torch.addcmul(x, self.scale, y)
        if self.kind == "decay":
            return torch.add(self.alpha * x, y, alpha=self.beta)
        return y
