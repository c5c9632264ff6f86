"""Times of whole layers, forward and backward: S5 against other scans, convolution or blocks.

OMP_NUM_THREADS=1 python benchmarks/layers.py [s5] [blocks]

S5 is also compared with s5-pytorch where that is installed (the extra `bench`).
"""

from __future__ import annotations

import sys

import torch
from timing import Run, chosen, interleaved, peak_in_child, peak_mb

from s4core.nn.ssm_layer import SSMLayer
from s4core.ops.chunk import chunk_scan
from s4core.ops.fftconv import fft_conv
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.mimo import MimoOptions, MimoSSM

# (batch, features, states before conj_sym, length)
S5_SHAPES = [(16, 128, 64, 1024), (8, 256, 128, 4096), (4, 96, 128, 16384)]
BLOCK_SHAPES = [(16, 64, 1024), (8, 64, 2048), (8, 64, 4096), (4, 64, 8192), (4, 64, 16000)]


def with_gradient(function: Run, leaves: list[torch.Tensor]) -> Run:
    def run() -> object:
        y = function()
        assert isinstance(y, torch.Tensor)
        return torch.autograd.grad(y, leaves, torch.ones_like(y))

    return run


def associative(layer: MimoSSM, u: torch.Tensor) -> torch.Tensor:
    """The layer by torch's associative_scan: complex products and a generic binary operator."""
    from torch._higher_order_ops.associative_scan import associative_scan

    A, steps = layer.A(), layer.steps()
    A_bar = torch.exp(A * steps)
    B_bar = ((A_bar - 1) / A)[:, None] * torch.view_as_complex(layer.B)
    Bu = u.to(A.dtype) @ B_bar.T

    def join(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return a[0] * b[0], b[0] * a[1] + b[1]

    pair = (A_bar.expand_as(Bu).contiguous(), Bu)
    _, x = associative_scan(join, pair, 1, combine_mode="generic")
    return 2 * (x @ torch.view_as_complex(layer.C).T).real + layer.D * u


def s5() -> None:
    for B, H, N, L in S5_SHAPES:
        layer = MimoSSM(H, MimoOptions(d_state=N, blocks=1))
        u = torch.randn(B, L, H, requires_grad=True)
        leaves = [u, *layer.parameters()]
        variants = {
            "ours": with_gradient(lambda u=u, layer=layer: layer(u), leaves),  # type: ignore[misc]
            "associative_scan": with_gradient(
                lambda u=u, layer=layer: associative(layer, u),  # type: ignore[misc]
                leaves,
            ),
        }
        other = s5_pytorch(H, N)
        if other is not None:
            weights = [u, *other.parameters()]
            variants["s5-pytorch"] = with_gradient(lambda u=u, f=other: f(u), weights)  # type: ignore[misc]
        show("s5", (B, H, N, L), interleaved(variants, rounds=3))
    if other is None:
        print("s5-pytorch is not installed: its column is left out.")
    for index, (B, H, N, L) in enumerate(S5_SHAPES):
        for which in ("regular", "irregular"):
            peak = peak_in_child(__file__, which, str(index))
            print(f"s5 {(B, H, N, L)} {which:9} steps: peak {peak:5.0f} MB over the inputs")


def s5_pytorch(H: int, N: int) -> torch.nn.Module | None:
    """The layer of PyPI's s5-pytorch with N / 2 complex states, the number that ours keeps."""
    try:
        from s5 import S5  # type: ignore[import-not-found]
    except ImportError:
        return None
    module: torch.nn.Module = S5(H, N // 2)
    return module


def s5_peak(which: str, index: int) -> float:
    """Peak megabytes of forward and backward, over the inputs."""
    B, H, N, L = S5_SHAPES[index]
    layer = MimoSSM(H, MimoOptions(d_state=N, blocks=1))
    u = torch.randn(B, L, H, requires_grad=True)
    dt = 0.5 + torch.rand(B, L) if which == "irregular" else None
    layer(u[:, :64], dt=None if dt is None else dt[:, :64]).sum().backward()
    leaves = [u, *layer.parameters()]
    return peak_mb(with_gradient(lambda: layer(u, dt=dt), leaves))


def blocks() -> None:
    for B, H, L in BLOCK_SHAPES:
        for N in (4, 16, 32, 64):
            layer = SSMLayer(DiagonalSSM(H, DiagonalOptions(d_state=N, init="lin")))
            u = torch.randn(H, B, L).transpose(0, 1).requires_grad_()
            leaves = [u, *(p for name, p in layer.named_parameters() if name != "D")]

            def conv(u: torch.Tensor = u, layer: SSMLayer = layer) -> torch.Tensor:
                return fft_conv(u, layer.ssm.kernel(u.shape[-1]))

            def block(u: torch.Tensor = u, layer: SSMLayer = layer) -> torch.Tensor:
                return chunk_scan(u, layer.ssm.tables(64))[0]

            variants = {"fft": with_gradient(conv, leaves), "blocks": with_gradient(block, leaves)}
            show("s4d", (B, H, N, L), interleaved(variants, rounds=3))


def show(name: str, shape: tuple[int, ...], times: dict[str, float]) -> None:
    first = next(iter(times.values()))
    text = "  ".join(f"{k} {ms:8.1f} ms ({ms / first:.2f})" for k, ms in times.items())
    print(f"{name:4} {str(shape):22} {text}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if sys.argv[1:2] == ["--peak"]:
        print(s5_peak(sys.argv[2], int(sys.argv[3])))
        return
    parts = {"s5": s5, "blocks": blocks}
    for name in chosen(parts, __doc__):
        parts[name]()


if __name__ == "__main__":
    main()
