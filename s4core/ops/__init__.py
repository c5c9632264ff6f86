"""Pure functions on tensors: kernels, convolutions and scans of state space models.

The real dtype of a result follows the inputs: float64 in, float64 out.  A fast function keeps its
obvious twin `<name>_ref` in the same file.
"""

from .cauchy import truncated_dplr_kernel
from .discretize import discretize
from .dplr import dplr_kernel
from .dss import dss_kernel
from .fftconv import fft_conv
from .hippo import hippo, nplr
from .krylov import dense_kernel
from .liquid import liquid_scan
from .mimo import mimo_scan
from .spectra import spectrum
from .vandermonde import diagonal_kernel

__all__ = [
    "dense_kernel",
    "diagonal_kernel",
    "discretize",
    "dplr_kernel",
    "dss_kernel",
    "fft_conv",
    "hippo",
    "liquid_scan",
    "mimo_scan",
    "nplr",
    "spectrum",
    "truncated_dplr_kernel",
]
