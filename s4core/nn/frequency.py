"""Frequency bias: a filter that makes a system's kernel more or less sensitive to high frequencies.

The other half of tuning it is `imag_scale` of the init, which spreads the modes' frequencies.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import Mode, SSMLayer
from s4core.ops.fftconv import fft_length


class SobolevSystem(nn.Module):
    """A system whose transfer function is multiplied by (1 + |s|)^beta, s in radians a step.

    The factor has no phase, so the kernel looks ahead too: it comes as the forward and the backward
    half of a bidirectional layer. beta > 0 favours high frequencies, beta < 0 low ones.
    Source: arXiv:2410.02035, section 5.2; the unit of s is ours.
    """

    ssm_lr_parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, system: Any, beta: float, *, bidirectional: bool) -> None:
        super().__init__()
        self.system, self.beta, self.bidirectional = system, beta, bidirectional
        self.d_model: int = system.d_model
        self.channels: int = system.channels * (1 if bidirectional else 2)

    def kernel(self, length: int, rate: float = 1.0) -> Tensor:
        """The filtered kernel (channels, H, length), forward half first."""
        n = fft_length(4 * length)
        k = self.system.kernel(length, rate)
        forward, backward = k, None
        if self.bidirectional:
            forward, backward = k.chunk(2)
        whole = k.new_zeros(*forward.shape[:-1], n)
        whole[..., :length] = forward
        if backward is not None:
            whole[..., n - length :] = backward.flip(-1)
        s = torch.arange(n // 2 + 1, device=k.device, dtype=k.dtype) * (2.0 * math.pi / n)
        filtered = torch.fft.irfft(torch.fft.rfft(whole) * (1.0 + s) ** self.beta, n=n)
        return torch.cat([filtered[..., :length], filtered[..., n - length :].flip(-1)])


def conv_layer(system: nn.Module, options: ConvOptions, *, mode: Mode = "auto") -> SSMLayer:
    """Put a system of `options.kernels` kernels into the layer that the options ask for."""
    both_ways = options.bidirectional
    if options.sobolev != 0.0:
        system = SobolevSystem(system, options.sobolev, bidirectional=both_ways)
        both_ways = True
    return SSMLayer(
        system, bidirectional=both_ways, mode=mode, kernel_dropout=options.kernel_dropout
    )
