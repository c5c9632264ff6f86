"""A continuous wavelet transform as the front of a model: magnitudes of Morlet coefficients.

The bank is a buffer, so the transform runs in one batch on the model's device. It looks at the
whole sequence: a model with this front cannot step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MORLET_FREQUENCY = 6.0
SCALES_PER_OCTAVE = 12


class Wavelet(nn.Module):
    """Map x (B, L, d_input) to the magnitudes (B, L or n0, d_input * scales), "(channel scale)".

    n0: the next power of two from l_max, to which x is padded with zeros; crop: cut the result to
    the length of x. The scales go from two samples to n0 in steps of 1/12 octave.
    Source: Torrence and Compo, Bull. Am. Met. Soc. 79 (1998) 61, eqs. 4, 6, 9, 10 and table 1.
    """

    def __init__(self, d_input: int, l_max: int, *, crop: bool = True) -> None:
        super().__init__()
        self.n0 = 1 << max(1, math.ceil(math.log2(l_max)))
        self.crop = crop
        self.scales = wavelet_scales(self.n0)
        self.d_output = d_input * len(self.scales)
        self.register_buffer("bank", _bank(self.n0, self.scales), persistent=False)
        self.bank: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Transform whole sequences."""
        spectrum = torch.fft.fft(F.pad(x.transpose(1, 2), (0, self.n0 - x.shape[1])))
        coefficients = torch.fft.ifft(spectrum.unsqueeze(2) * self.bank.to(x.dtype))
        magnitude: Tensor = coefficients.abs().flatten(1, 2).transpose(1, 2)
        return magnitude[:, : x.shape[1]] if self.crop else magnitude


def wavelet_scales(n0: int) -> Tensor:
    """The scales s_j = s_0 2^(j/12) in samples, float64; s_0 has a Fourier period of 2 samples."""
    w = MORLET_FREQUENCY
    period = 4.0 * math.pi / (w + math.sqrt(2.0 + w * w))
    smallest = 2.0 / period
    last = round(SCALES_PER_OCTAVE * math.log2(n0 / smallest))
    return smallest * 2.0 ** (torch.arange(last + 1, dtype=torch.float64) / SCALES_PER_OCTAVE)


def _bank(n0: int, scales: Tensor) -> Tensor:
    omega = 2.0 * math.pi * torch.fft.fftfreq(n0, dtype=torch.float64)
    s = scales[:, None]
    shape = math.pi**-0.25 * torch.exp(-0.5 * (s * omega - MORLET_FREQUENCY) ** 2)
    bank: Tensor = torch.sqrt(2.0 * math.pi * s) * shape
    return bank.to(torch.get_default_dtype())
