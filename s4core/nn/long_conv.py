"""A convolution whose kernel is free: every value of it is a parameter."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # the inputs so far, newest first, and the kernel


class LongConv(nn.Module):
    """A kernel of l_max values for each channel and feature, as a system for the SSM layer.

    decay: start values fall off as exp(-a l / l_max), a geometric over the features, else uniform
    in size; squash: values nearer to 0 than this become 0, which is what makes free kernels train;
    p: dropout of kernel values.  Source: arXiv:2302.06646, section 3 and appendix B.
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
        p: float = 0.0,
    ) -> None:
        super().__init__()
        self.d_model, self.channels, self.l_max = d_model, channels, l_max
        self.squash, self.p = squash, p
        K = torch.randn(channels, d_model, l_max)
        if decay:
            falls = torch.logspace(0, 2, d_model)[:, None]
            K = K * torch.exp(-falls * torch.arange(l_max) / l_max)
        self.K = nn.Parameter(K * l_max**-0.5)

    def kernel(self, length: int, rate: float = 1.0) -> Tensor:
        """The kernel (channels, H, length); ValueError for a rate other than 1."""
        if rate != 1.0:
            raise ValueError(f"a free kernel belongs to one step size: need rate 1, got {rate:g}.")
        K = F.softshrink(self.K[..., :length], self.squash)
        return F.dropout(K, self.p, self.training)

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
