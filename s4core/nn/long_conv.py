"""A convolution whose kernel is free: every value of it is a parameter."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4core.nn.ssm_layer import SSMLayer
from s4core.ops import fft_conv

State = tuple[Tensor, Tensor]  # the inputs so far, newest first, and the kernel


class LongConv(nn.Module):
    """A kernel of l_max values for each channel and feature, as a system for the SSM layer.

    decay: start values fall off as exp(-a l / l_max), a geometric over the features, else uniform
    in size; squash: values nearer to 0 than this become 0, which is what makes free kernels train.
    Source: arXiv:2302.06646, section 3 and appendix B.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ("K",)

    def __init__(
        self,
        d_model: int,
        *,
        l_max: int,
        channels: int = 1,
        decay: bool = True,
        squash: float = 0.003,
    ) -> None:
        super().__init__()
        self.d_model, self.channels, self.l_max = d_model, channels, l_max
        self.squash = squash
        K = torch.randn(channels, d_model, l_max)
        if decay:
            falls = torch.logspace(0, 2, d_model)[:, None]
            K = K * torch.exp(-falls * torch.arange(l_max) / l_max)
        self.K = nn.Parameter(K * l_max**-0.5)

    def kernel(self, length: int, rate: float = 1.0) -> Tensor:
        """The kernel (channels, H, length); ValueError for a rate other than 1."""
        if rate != 1.0:
            raise ValueError(f"a free kernel belongs to one step size: need rate 1, got {rate:g}.")
        return F.softshrink(self.K[..., :length], self.squash)

    def initial_state(self, batch: int, rate: float = 1.0) -> State:
        """No inputs yet; a step costs as many products as there were steps, up to l_max."""
        K = F.softshrink(self.K, self.squash)
        return self.K.new_zeros(batch, self.d_model, 0), K

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: u (B, H) to (B, channels * H)."""
        past, K = state
        past = torch.cat([u[..., None], past[..., : self.l_max - 1]], dim=-1)
        y = torch.einsum("bhl,chl->bch", past, K[..., : past.shape[-1]])
        return y.flatten(1), (past, K)


class LongConvLayer(nn.Module):
    """The layer around a free kernel; its state is the whole past, up to l_max steps."""

    takes_dt: ClassVar[bool] = False

    def __init__(self, layer: SSMLayer) -> None:
        super().__init__()
        self.layer, self.l_max, self.d_output = layer, layer.ssm.l_max, layer.d_output

    def forward(self, x: Tensor, rate: float = 1.0) -> Tensor:
        """Convolve whole sequences (B, L, H)."""
        return self.layer(x, rate)  # type: ignore[no-any-return]

    def initial_state(self, batch: int) -> State:
        """No inputs yet; ValueError for a bidirectional layer."""
        return self.layer.initial_state(batch)  # type: ignore[no-any-return]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step (B, H)."""
        return self.layer.step(x, state)

    def forward_with_state(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run a piece (B, l, H): the convolution over the past and the piece, its end kept."""
        past, K = state
        u = x.transpose(1, 2)
        whole = torch.cat([past.flip(-1), u], dim=-1)
        k = F.pad(K, (0, max(0, whole.shape[-1] - K.shape[-1])))
        y = fft_conv(whole, k)[..., past.shape[-1] :]
        y = y + (u[:, None] * self.layer.D[..., None]).flatten(1, 2)
        newest = whole.flip(-1)[..., : self.l_max - 1]
        return y.transpose(1, 2), (newest, K)
