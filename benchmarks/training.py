"""A whole training step (forward, backward, AdamW): our model against its naive twin.

The twin has the same parameters and does the arithmetic of the published code: kernels from an
N x L table of complex numbers, one FFT over the whole batch, (B, H, L) with transposes around the
norm. Both are measured in one process, interleaved, in CPU time of one thread; memory in a process
of its own each. Beside them stands what no way of computing it goes without: the products of the
channel mixing and the FFTs of the convolution, bare.

    OMP_NUM_THREADS=1 python benchmarks/training.py            # the shapes that take seconds
    OMP_NUM_THREADS=1 python benchmarks/training.py --all      # needs 16 GB and some minutes
    OMP_NUM_THREADS=1 python benchmarks/training.py --compile  # beside it train.backend: compiled
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from kernels import conv
from torch import Tensor, nn

from s4core import TrainConfig, build
from s4core.ops.cauchy import truncated_dplr_kernel_ref
from s4core.ops.fftconv import fft_conv_ref
from s4core.ops.vandermonde import diagonal_kernel_ref
from s4core.train.backend import on_backend
from s4core.train.measure import peak_memory_mb, reset_peak_memory
from s4core.train.optim import build_optimizer

# (batch, d_model, d_state, length, layers)
TINY = [(4, 16, 64, 128, 4), (8, 32, 64, 256, 4)]
SMALL = [(16, 128, 64, 1024, 4)]
LARGE = [(8, 256, 64, 4096, 2), (4, 128, 64, 16000, 2)]
CPU = torch.device("cpu")

Step = Callable[[], None]


def make(name: str, shape: tuple[int, ...], dropout: float = 0.1) -> nn.Module:
    """The model of the published example: post-norm, gelu, GLU, layer norm, mean over time."""
    _, d_model, d_state, length, n_layers = shape
    init = {"s4d": "lin", "s4": "legs"}[name]
    block = {
        "name": name,
        "d_model": d_model,
        "d_state": d_state,
        "n_layers": n_layers,
        "init": init,
        "dropout": dropout,
        "prenorm": False,
    }
    torch.manual_seed(0)
    return build(block, {"d_input": 1, "d_output": 10, "length": length})


def naive_forward(model: Any, x: Tensor) -> Tensor:
    """What `model(x)` computes, as the published code computes it."""
    u = model.encoder.linear(x).transpose(1, 2)
    for block in model.backbone.blocks:
        layer = block.mixer
        y = fft_conv_ref(u, naive_kernel(layer.ssm, u.shape[-1])) + u * layer.D.T
        y = tied_dropout(F.gelu(y), block)
        y = F.glu(F.conv1d(y, block.output.linear.weight[..., None], block.output.linear.bias), 1)
        z = (u + tied_dropout(y, block)).transpose(1, 2)
        norm = block.postnorm
        u = F.layer_norm(z, z.shape[-1:], norm.weight, norm.bias, norm.eps).transpose(1, 2)
    return model.decoder.readout.linear(u.mean(-1))


def naive_kernel(ssm: Any, length: int) -> Tensor:
    """In single precision throughout, as published."""
    dt = ssm.steps(1.0).float()
    if hasattr(ssm, "P"):
        A, P, B = ssm.system()
        C = torch.view_as_complex(ssm.C)
        return truncated_dplr_kernel_ref(A.to(C.dtype), P, B, C, dt, length)
    A, B, C, _ = ssm.system()
    return diagonal_kernel_ref(A.to(C.dtype), B, C, dt, length)


def tied_dropout(y: Tensor, block: Any) -> Tensor:
    if not block.training or block.output.branch_dropout == 0:
        return y
    keep = torch.rand(*y.shape[:2], 1) >= block.output.branch_dropout
    return y * (keep / (1 - block.output.branch_dropout))


def make_step(name: str, shape: tuple[int, ...], *, naive: bool, compiled: bool = False) -> Step:
    model = make(name, shape)
    run = on_backend(model, "compiled" if compiled else "eager", CPU)
    optimizer = build_optimizer(model, TrainConfig())
    x, y = torch.randn(shape[0], shape[3], 1), torch.randint(0, 10, (shape[0],))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        output = naive_forward(model, x) if naive else run(x)
        F.cross_entropy(output, y).backward()
        optimizer.step()

    return step


def make_bare(shape: tuple[int, ...]) -> Step:
    """The products (2 H x H, three a layer, in pieces of 2048 columns) and the FFTs of a step."""
    batch, H, _, length, layers = shape
    W, g, v = torch.randn(2 * H, H), torch.randn(H, 2048), torch.randn(2 * H, 2048)
    ffts = conv(batch, H, length, "bare FFTs")

    def step() -> None:
        for _ in range(layers):
            for _ in range(batch * length // 2048):
                torch.mm(W, g), torch.mm(W.t(), v), torch.mm(v, g.t())
            ffts()

    return step


def check(name: str) -> None:
    """The twins must agree before their times mean anything."""
    shape = (2, 16, 16, 101, 2)
    model = make(name, shape, dropout=0.0)
    x = torch.randn(2, 101, 1)
    torch.testing.assert_close(model(x), naive_forward(model, x), rtol=2e-3, atol=2e-4)


def milliseconds(steps: list[Step], rounds: int) -> list[float]:
    """The median CPU time of each, interleaved."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds + 1):
        for step, seen in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            seen.append(1e3 * (time.process_time() - start))
    return [statistics.median(seen[1:]) for seen in times]


def peak_mb(name: str, shape: tuple[int, ...], *, naive: bool) -> float:
    """Memory that two steps need beyond the built model, measured in a process of its own."""
    call = f"import training; training.print_peak({name!r}, {shape!r}, {naive!r})"
    folder = __file__.rpartition("/")[0]
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); {call}"]
    return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def print_peak(name: str, shape: tuple[int, ...], naive: bool) -> None:
    # The first step of a small model imports what any first step imports.
    make_step(name, (1, 8, 8, 16, 1), naive=naive)()
    step = make_step(name, shape, naive=naive)
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    step()
    step()
    print(peak_memory_mb(CPU) - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the large shapes too")
    parser.add_argument("--compile", action="store_true", help="compiled steps too (a minute each)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("model (B, H, N, L) x layers: ms naive, bare, ours, compiled (ratio); MB naive, ours")
    for name in ("s4d", "s4"):
        check(name)
        for shape in TINY + SMALL + (LARGE if args.all else []):
            rounds = 1 if shape in LARGE else args.rounds * (4 if shape in TINY else 1)
            steps = [make_step(name, shape, naive=True), make_bare(shape)]
            steps.append(make_step(name, shape, naive=False))
            if args.compile:
                steps.append(make_step(name, shape, naive=False, compiled=True))
            naive, bare, *ours = milliseconds(steps, rounds)
            *size, layers = shape
            line = f"{name:4} {tuple(size)!s:22} x {layers}: {naive:9.1f} {bare:8.1f}"
            line += "".join(f" {ms:9.1f} ({naive / ms:4.1f})" for ms in ours)
            if not args.no_memory:
                memory = [peak_mb(name, shape, naive=n) for n in (True, False)]
                line += f" {memory[0]:8.0f} {memory[1]:7.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
