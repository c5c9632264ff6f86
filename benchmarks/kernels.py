"""Times and peak memory of the operations, forward and backward, against their naive twins.

    OMP_NUM_THREADS=1 python benchmarks/kernels.py [names of cases, all if none]

The twins do the published arithmetic (the whole table in complex64).  At long lengths they would
need ten gigabytes, so they run on a share of the features and their time and memory are multiplied.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from timing import Run, chosen, interleaved, peak_in_child, peak_mb

from s4core.ops import diagonal_kernel, dplr_kernel, fft_conv, nplr, truncated_dplr_kernel
from s4core.ops.cauchy import cauchy_kernel, truncated_dplr_kernel_ref
from s4core.ops.dplr import krylov_kernel
from s4core.ops.fftconv import BLOCK, fft_conv_ref, fft_length
from s4core.ops.vandermonde import diagonal_kernel_ref

# (batch, features, states, length)
SHAPES = [(16, 128, 64, 1024), (8, 256, 64, 4096), (4, 128, 64, 16000)]
REF_SHARE = {1024: 1, 4096: 4, 16000: 16}


def steps(H: int) -> torch.Tensor:
    return torch.exp(torch.empty(H).uniform_(math.log(1e-3), math.log(1e-1)))


def with_gradient(function: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> Run:
    for leaf in leaves:
        leaf.requires_grad_()

    def run() -> object:
        y = function()
        return torch.autograd.grad(y, leaves, torch.ones_like(y))

    return run


def s4d(H: int, N: int, L: int, which: str) -> Run:
    A = torch.complex(torch.full((H, N // 2), -0.5), math.pi * torch.arange(N // 2).repeat(H, 1))
    leaves = [A, torch.ones_like(A), torch.randn(1, *A.shape, dtype=A.dtype), steps(H)]
    kernel = diagonal_kernel_ref if which == "ref" else diagonal_kernel
    return with_gradient(lambda: kernel(*leaves, L), leaves)


def s4(H: int, N: int, L: int, which: str) -> Run:
    here = {"device": torch.get_default_device(), "dtype": torch.complex64}
    Lambda, P, B, _ = (t.to(**here) for t in nplr("legs", N))
    leaves = [Lambda.repeat(H, 1), P.unsqueeze(1).repeat(1, H, 1), B.repeat(H, 1)]
    leaves += [torch.randn(1, H, N // 2, dtype=torch.complex64), steps(H)[:, None]]
    if which == "ref":
        return with_gradient(lambda: truncated_dplr_kernel_ref(*leaves, L), leaves)
    if which == "plain C":
        return with_gradient(lambda: dplr_kernel(*leaves, L), leaves)
    if which == "Krylov":
        return with_gradient(lambda: krylov_kernel(*leaves, L), leaves)
    if which in WIDTHS:
        narrow = which == "float32"
        return with_gradient(lambda: cauchy_kernel(*leaves, L, is_narrow=narrow), leaves)
    return with_gradient(lambda: truncated_dplr_kernel(*leaves, L, is_damped=True), leaves)


def conv(B: int, H: int, L: int, which: str) -> Run:
    u, k, r = torch.randn(B, H, L), torch.randn(1, H, L), torch.randn(1, H, L)
    u = u.transpose(0, 1).contiguous().transpose(0, 1)
    if which == "bare FFTs":
        n = fft_length(2 * L - 1)
        whole, f = torch.randn(H, B, n), torch.fft.rfft(k[0], n=n)

        def run() -> None:
            # What forward and backward need: three spectra and two inverses of u, three of k.
            for block in torch.split(whole, max(1, BLOCK // (B * n))):
                for _ in range(3):
                    spectrum = torch.fft.rfft(block)
                for _ in range(2):
                    torch.fft.irfft(spectrum, n=n)
            for _ in range(2):
                torch.fft.irfft(f, n=n)

        return run
    function = fft_conv_ref if which.startswith("ref") else fft_conv
    reverse = r if "bidirectional" in which else None
    leaves = [u, k] if reverse is None else [u, k, r]
    return with_gradient(lambda: function(u, k, k_reverse=reverse), leaves)


# Sums of the FFT nodes in this precision.
WIDTHS = ("float32", "float64")
CASES = {
    "s4d": (s4d, ["ours", "ref"]),
    "s4": (s4, ["C~", "plain C", "ref"]),
    "conv": (conv, ["ours", "bare FFTs", "ref", "bidirectional", "ref bidirectional"]),
}


def make(case: str, shape: tuple[int, int, int, int], which: str) -> tuple[Run, int]:
    """A run, and the number that its figures are to be multiplied by."""
    B, H, N, L = shape
    if case == "conv":
        return conv(B, H, L, which), 1
    share = REF_SHARE[L] if which == "ref" else 1
    return CASES[case][0](H // share, N, L, which), share


def routes() -> None:
    """S4's kernel from C~ by each of its ways at 64 features, which the choice rests on."""
    for N, lengths in {8: (256, 1024), 16: (512, 1024, 4096), 64: (1024, 4096, 16384)}.items():
        for L in lengths:
            times = interleaved({way: s4(64, N, L, way) for way in (*WIDTHS, "Krylov")}, rounds=5)
            text = "  ".join(f"{way} {ms:6.1f} ms" for way, ms in times.items())
            print(f"route N = {N:3} L = {L:5}  {text}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if sys.argv[1:2] == ["--peak"]:
        case, index, which = sys.argv[2:]
        make(case, (2, 8, 8, 64), which)[0]() if which != "ref" else None
        run, share = make(case, SHAPES[int(index)], which)
        print(peak_mb(run) * share)
        return
    for case in chosen([*CASES, "routes"], __doc__):
        if case == "routes":
            routes()
            continue
        for index, shape in enumerate(SHAPES):
            made = {which: make(case, shape, which) for which in CASES[case][1]}
            rounds = 3 if shape[-1] > 2000 else 7
            times = interleaved({k: run for k, (run, _) in made.items()}, rounds=rounds)
            first = next(iter(times))
            for which, (_, share) in made.items():
                peak = peak_in_child(__file__, case, str(index), which)
                ms = times[which] * share
                print(
                    f"{case:5} {str(shape):22} {which:18} {ms:9.1f} ms {peak:8.0f} MB "
                    f"{ms / times[first]:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
