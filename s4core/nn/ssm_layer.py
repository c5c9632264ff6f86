"""THE layer: a single-input single-output system per feature, with its skip, as conv or as step.

The three modes agree: `forward` convolves with the system's kernel, `forward_with_state` continues
from a state and returns the next, `step` is the recurrence.  The skip D is added to the kernel's
first value, which costs nothing, where adding D u costs two passes over the sequence.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..ops.chunk import chunk_scan
from ..ops.fftconv import fft_conv
from ..shapes import Float, Tensor
from ..ssm.diagonal import DiagonalSSM

# Steps in a block of the recurrence between states: products of 64 rows fill the vector units.
CHUNK = 64
Mode = Literal["auto", "conv", "scan"]
# Where blocks beat the FFT on a CPU: up to so many states, from so many steps on.
BLOCKS = ((32, 1024), (64, 8192))


class SSMLayer(nn.Module):
    """y = K * u + D u for each feature and channel; `d_output` = channels * d_model features.

    ssm: a system of s4core.ssm with `kernel`, `initial_state`, `step`, `d_model`, `channels`.
    bidirectional: the second half of the system's channels runs backwards in time and is added to
    the first; its first value acts at distance one.
    mode: how whole sequences are computed: conv by FFT of the kernel, scan by the recurrence in
    blocks, auto whichever is faster. They agree to rounding.
    kernel_dropout: probability that a value of a kernel is left out in training, where `forward`
    then always convolves; what goes on from a state drops nothing.
    Raises ValueError for a bidirectional layer over an odd number of channels, and for a scan that
    is bidirectional or would drop values of a kernel.
    """

    takes_dt: ClassVar[bool] = False

    def __init__(
        self,
        ssm: Any,
        *,
        bidirectional: bool = False,
        mode: Mode = "auto",
        kernel_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if bidirectional and ssm.channels % 2:
            raise ValueError(
                f"a bidirectional layer needs a system with 2 * channels, got {ssm.channels=}."
            )
        if bidirectional and mode == "scan":
            raise ValueError("a bidirectional layer needs mode auto or conv: a scan goes one way.")
        if kernel_dropout > 0.0 and mode == "scan":
            raise ValueError("kernel_dropout needs mode auto or conv: a scan has no kernel.")
        self.ssm, self.bidirectional, self.mode = ssm, bidirectional, mode
        self.kernel_dropout = kernel_dropout
        self.channels: int = ssm.channels // 2 if bidirectional else ssm.channels
        self.d_model: int = ssm.d_model
        self.d_output = self.channels * self.d_model
        self.D = nn.Parameter(torch.randn(self.channels, self.d_model))

    def forward(
        self,
        u: Float[Tensor, "B L H"],
        rate: float = 1.0,
        *,
        kernel: Float[Tensor, "C H L"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Convolve whole sequences, (B, L, H) to (B, L, C * H), channel-major.

        rate: step of this grid over the step of the training grid (2 for every second sample).
        kernel: what `ssm.kernel` gives, where it is known already.
        """
        return self.convolve(u.transpose(1, 2), rate, kernel).transpose(1, 2)

    def convolve(
        self,
        u: Float[Tensor, "B H L"],
        rate: float = 1.0,
        kernel: Float[Tensor, "C H L"] | None = None,
    ) -> Float[Tensor, "B D L"]:
        """The same with time last; any strides of u are taken as they are.

        Mode auto takes blocks where they are faster (see benchmarks/README.md), else the FFT: a
        rule of the shape alone, so that reruns agree to the bit. Both agree to 1e-6 in float32.
        """
        if self.is_for_blocks(u.shape[-1], u.device):
            return self._by_blocks(u, None, rate)[0]
        k = self.ssm.kernel(u.shape[-1], rate) if kernel is None else kernel
        k = F.dropout(k, self.kernel_dropout, self.training)
        reverse = None
        if self.bidirectional:
            k, reverse = k[: self.channels], k[self.channels :]
        y: Tensor = fft_conv(u, with_skip(k, self.D), k_reverse=reverse)
        return y

    def forward_with_state(
        self, u: Float[Tensor, "B L H"], state: Any, rate: float = 1.0
    ) -> tuple[Float[Tensor, "B L D"], Any]:
        """Continue a sequence from a state of `initial_state` or `step`; return the next state.

        Any cut of a sequence into pieces gives the outputs of the whole.  Source: ops/chunk.py.
        """
        y, x = self._by_blocks(u.transpose(1, 2), state.x, rate)
        return y.transpose(1, 2), state._replace(x=x)

    def initial_state(self, batch: int, rate: float = 1.0) -> Any:
        """The zero state for `step`; it carries the discretised system.

        Raises ValueError for a bidirectional layer, which needs the whole sequence.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional layer has no step mode: it needs the future.")
        return self.ssm.initial_state(batch, rate)

    def step(self, u: Float[Tensor, "B H"], state: Any) -> tuple[Float[Tensor, "B D"], Any]:
        """One step, (B, H) to (B, C * H), and the next state."""
        y, state = self.ssm.step(u, state)
        if self.channels == 1:
            return torch.addcmul(y, u, self.D[0]), state
        return y + (u.unsqueeze(1) * self.D).flatten(1), state

    def is_for_blocks(self, length: int, device: torch.device) -> bool:
        """Whether `forward` scans in blocks and has no use for a kernel."""
        if self.mode != "auto":
            return self.mode == "scan"
        if self.bidirectional or self.channels > 1 or not isinstance(self.ssm, DiagonalSSM):
            return False
        if self.training and self.kernel_dropout > 0.0:
            return False
        # Compilers want the one opaque kernel; a GPU's FFT was not measured against blocks.
        eager = device.type == "cpu" and not torch.compiler.is_compiling()
        states = 2 * self.ssm.A_real.shape[-1]
        return eager and any(states <= most and length >= least for most, least in BLOCKS)

    def _by_blocks(
        self, u: Float[Tensor, "B H L"], x: Tensor | None, rate: float
    ) -> tuple[Float[Tensor, "B D L"], Tensor]:
        """Outputs and the last state, from the state x (None is zero)."""
        tables = self.ssm.tables(block_of(u), rate)
        tables = dataclasses.replace(tables, kernel=with_skip(tables.kernel, self.D))
        return chunk_scan(u, tables, x)


def block_of(u: Float[Tensor, "*s L"]) -> int:
    """Steps in a block for sequences like u."""
    return min(CHUNK, 1 << max(0, u.shape[-1] - 1).bit_length())


def with_skip(k: Float[Tensor, "C H L"], D: Float[Tensor, "C H"]) -> Float[Tensor, "C H L"]:
    """The kernel of y = K * u + D u."""
    return torch.cat([k[..., :1] + D.unsqueeze(-1), k[..., 1:]], -1)
