"""Pure functions on tensors: kernels, convolutions and scans of state space models.

The real dtype of a result follows the inputs: float64 in, float64 out.  A fast function keeps its
obvious twin `<name>_ref` in the same file.
"""

from .discretize import discretize
from .fftconv import fft_conv
from .hippo import hippo, nplr
from .spectra import spectrum
from .vandermonde import diagonal_kernel

__all__ = ["diagonal_kernel", "discretize", "fft_conv", "hippo", "nplr", "spectrum"]
