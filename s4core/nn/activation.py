"""The activation functions by name, and the output stage that follows a mixer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn import fused_output, layout

ActivationName = Literal[
    "none",
    "gelu",
    "gelu_tanh",
    "relu",
    "silu",
    "elu",
    "tanh",
    "sigmoid",
    "softplus",
    "relu2",
    "laplace",
    "modrelu",
]
FinalName = Literal[
    "glu", "geglu", "reglu", "swiglu", "half_glu1", "half_glu2", "linear", "none"
]  # fmt: skip

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "relu2": lambda x: F.relu(x).square(),
    # Mega's smooth stand-in for relu2, arXiv:2209.10655 eq. 10.
    "laplace": lambda x: 0.5 * (1.0 + torch.erf((x - 0.5**0.5) / (0.5 / 3.141592653589793) ** 0.5)),
}

# What a gated linear unit does to its second half.
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": torch.sigmoid,
    "geglu": F.gelu,
    "reglu": F.relu,
    "swiglu": F.silu,
}


def _small_gelu(y: Tensor) -> Tensor:
    # torch sends a contiguous gelu to oneDNN, whose call takes 5 us; the values of one step take 1.
    if y.device.type != "cpu" or y.numel() % 2 or y.numel() > 4096:
        return F.gelu(y)
    return F.gelu(y.reshape(-1, 2).t()).t().reshape(y.shape)


class Output(nn.Module):
    """What follows a mixer: activation, dropout, channel mixing with its gate.

    With y (d_input channels) from the mixer and g = dropout(activation(y)), the result (d_model
    channels) is by `final_act`, before branch_dropout: glu a * sigmoid(b), [a, b] = W g; geglu,
    reglu, swiglu the same with gelu, relu, silu of b; half_glu1 g * sigmoid(W g); half_glu2
    y * sigmoid(W g); linear W g; none g. drop_path: probability of a sequence to get 0 instead.
    weight_norm: W is g V / |V| of each row, V and g learned.
    activation: see ACTIVATIONS; modrelu is sign(y) relu(|y| + bias), a learned bias a channel.
    Source: S4's block; S5, arXiv:2208.04933, appendix G; arXiv:2002.05202 for the gates,
    arXiv:1511.06464, eq. (8), for modrelu; arXiv:1602.07868, eq. (2), for weight_norm.
    """

    def __init__(
        self,
        d_input: int,
        d_model: int,
        *,
        activation: ActivationName = "gelu",
        final_act: FinalName = "glu",
        dropout: float = 0.0,
        branch_dropout: float = 0.0,
        tie_dropout: bool = True,
        drop_path: float = 0.0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        if final_act in ("half_glu1", "half_glu2", "none") and d_input != d_model:
            raise ValueError(
                f"final_act {final_act!r} keeps the number of channels, but the mixer gives "
                f"{d_input} and the model has {d_model}: choose glu or linear."
            )
        self.activation, self.final_act = activation, final_act
        self.dropout, self.branch_dropout, self.tied = dropout, branch_dropout, tie_dropout
        self.drop_path = drop_path
        self.bias = self.linear = None
        if activation == "modrelu":
            self.bias = nn.Parameter(torch.empty(d_input).uniform_(-0.01, 0.01))
        if final_act != "none":
            self.linear = nn.Linear(d_input, 2 * d_model if final_act in GATES else d_model)
            if weight_norm:
                nn.utils.parametrizations.weight_norm(self.linear)

    def forward(self, y: Tensor) -> Tensor:
        """Map y (d_input, B, L), channels first, to (d_model, B, L)."""
        if self.is_fused(y):
            return self.fused(y)
        g = self.activate(y, 0)
        g = layout.dropout(g, self.dropout, tied=self.tied, training=self.training)
        z = self.gate(y, g, None if self.linear is None else layout.linear(self.linear, g), 0)
        z = layout.dropout(z, self.branch_dropout, tied=self.tied, training=self.training)
        return layout.drop_path(z, self.drop_path, training=self.training)

    def step(self, y: Tensor) -> Tensor:
        """Map y (B, d_input) of one step to (B, d_model), without dropout."""
        g = _small_gelu(y) if self.activation == "gelu" else self.activate(y, -1)
        linear = self.linear
        mixed = None if linear is None else F.linear(g, linear.weight, linear.bias)
        return self.gate(y, g, mixed, -1)

    def activate(self, y: Tensor, axis: int) -> Tensor:
        """Apply the activation, with the channels on `axis` (0 or -1)."""
        if self.bias is None:
            return ACTIVATIONS[self.activation](y)
        bias = self.bias if axis == -1 else self.bias.view(-1, *[1] * (y.ndim - 1))
        return y.sign() * F.relu(y.abs() + bias)

    def is_fused(self, y: Tensor) -> bool:
        """Whether `fused` serves this call."""
        plain = self.final_act == "glu" and self.activation in ("gelu", "gelu_tanh")
        drops = self.training and max(self.dropout, self.branch_dropout) > 0.0
        return plain and (self.tied or not drops) and fused_output.applies(y)

    def fused(self, y: Tensor, into: fused_output.Sum | None = None) -> Tensor:
        """The same in one pass, with the sum and the norm that follow it if they are given."""
        assert self.linear is not None
        half = self.linear.out_features // 2
        inner = outer = None
        if self.training and self.dropout > 0.0:
            inner = layout.tied_mask(y, y.shape[0], self.dropout)
        if self.training and self.branch_dropout > 0.0:
            outer = layout.tied_mask(y, half, self.branch_dropout)
        if self.training and self.drop_path > 0.0:
            kept = layout.tied_mask(y, 1, self.drop_path).expand(half, -1)
            outer = kept if outer is None else outer * kept
        return fused_output.glu_output(
            y,
            self.linear.weight,
            self.linear.bias,
            inner=inner,
            outer=outer,
            approximate="none" if self.activation == "gelu" else "tanh",
            into=into,
        )

    def gate(self, y: Tensor, g: Tensor, mixed: Tensor | None, axis: int) -> Tensor:
        """Apply final_act to mixed = W g (None without W), with the channels on `axis`."""
        if mixed is None:
            return g
        if self.final_act == "glu":
            return F.glu(mixed, dim=axis)
        if self.final_act in GATES:
            a, b = mixed.chunk(2, axis)
            return a * GATES[self.final_act](b)
        if self.final_act == "half_glu1":
            return g * torch.sigmoid(mixed)
        if self.final_act == "half_glu2":
            return y * torch.sigmoid(mixed)
        return mixed
