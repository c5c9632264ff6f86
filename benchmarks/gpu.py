"""A CUDA device on kernels, layers, models and fused trials; needs torch and numpy alone.

    python benchmarks/gpu.py [kernels layers models fused, all if none]

Times are those of CUDA events, taking turns, medians.  The floor of a layer is its memory traffic:
u read and y written once forward, u, y's gradient and u's gradient once backward, at the bandwidth
that a copy reaches here.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from fused_trials import CROWDS, as_one, made, one_by_one
from fused_trials import SHAPES as FUSED_SHAPES
from kernels import SHAPES, s4, s4d
from timing import chosen

from s4core import build
from s4core.nn.ssm_layer import SSMLayer
from s4core.ops.fftconv import fft_conv_ref
from s4core.ops.vandermonde import diagonal_kernel_ref
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM

Run = Callable[[], object]


def interleaved(variants: Mapping[str, Run], *, rounds: int = 20) -> dict[str, float]:
    """Median milliseconds of each variant on the device, after five rounds to warm up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 5):
        for name, run in variants.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values[5:]) for name, values in times.items()}


def peak_mb(run: Run) -> float:
    """Megabytes that `run` allocates over what is there."""
    run()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def show(name: str, shape: object, variants: Mapping[str, Run], floor_ms: float = 0.0) -> None:
    """Print one row: time, share of the first variant's, and memory of each."""
    times = interleaved(variants)
    first = next(iter(times.values()))
    cells = [
        f"{which} {ms:.3f} ms ({first / ms:.2f}x) {peak_mb(variants[which]):.0f} MB"
        for which, ms in times.items()
    ]
    floor = f"   floor {floor_ms:.3f} ms" if floor_ms else ""
    print(f"{name:10} {shape!s:22} " + "   ".join(cells) + floor, flush=True)


def bandwidth() -> float:
    """Bytes a second, read and written, of a copy of 1 GiB."""
    a = torch.empty(1 << 28)
    b = torch.empty_like(a)
    ms = interleaved({"copy": lambda: b.copy_(a)})["copy"]
    return 2 * a.nbytes / (ms / 1e3)


def kernels() -> None:
    for _, H, N, L in SHAPES:
        show("s4d kernel", (H, N, L), {w: s4d(H, N, L, w) for w in ("ref", "ours")})
        show("s4 kernel", (H, N, L), {w: s4(H, N, L, w) for w in ("ref", "C~", "plain C")})


def layers() -> None:
    rate = bandwidth()
    print(f"copy bandwidth {rate / 1e12:.2f} TB/s")
    for B, H, N, L in SHAPES:
        options = DiagonalOptions(d_state=N, init="lin")
        layer = made(lambda h=H, o=options: SSMLayer(DiagonalSSM(h, o)))  # type: ignore[misc]
        u = torch.randn(H, B, L).transpose(0, 1).requires_grad_()
        leaves = [u, *layer.parameters()]

        def naive(u: torch.Tensor = u, layer: SSMLayer = layer) -> torch.Tensor:
            A, B_, C, dt = layer.ssm.system()
            k = diagonal_kernel_ref(A.to(C.dtype), B_, C, dt.float(), u.shape[-1])
            return fft_conv_ref(u, k) + u * layer.D[0][:, None]

        def gradient(y: Callable[[], torch.Tensor], leaves: list = leaves) -> Run:  # type: ignore[type-arg]
            def run() -> object:
                out = y()
                return torch.autograd.grad(out, leaves, torch.ones_like(out))

            return run

        variants = {"naive": gradient(naive), "ours": gradient(lambda u=u, f=layer: f.convolve(u))}  # type: ignore[misc]
        show("s4d layer", (B, H, N, L), variants, 5e3 * u.nbytes / rate)


def models() -> None:
    for name in ("s4d", "s4", "s5"):
        for B, H, N, L in SHAPES[:2]:
            block = {"name": name, "d_model": H, "n_layers": 4, "d_state": N, "dropout": 0.1}
            model = made(lambda b=block, n=L: build(b, {"d_input": 1, "d_output": 10, "length": n}))  # type: ignore[misc]
            x, y = torch.randn(B, L, 1), torch.randint(0, 10, (B,))
            variants = {
                "eager": model,
                "compiled": torch.compile(model, dynamic=False),
                "graphs": torch.compile(model, dynamic=False, mode="reduce-overhead"),
            }
            runs = {k: trained(model, run, x, y, torch.float32) for k, run in variants.items()}
            runs["bf16"] = trained(model, model, x, y, torch.bfloat16)
            show(name, (B, H, N, L), runs)


def trained(
    model: torch.nn.Module, run: Callable[..., torch.Tensor], x: torch.Tensor, y: torch.Tensor,
    dtype: torch.dtype,
) -> Run:  # fmt: skip
    """One step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
            output = run(x)
        F.cross_entropy(output.float(), y).backward()
        optimizer.step()

    return step


def fused() -> None:
    for shape in FUSED_SHAPES:
        for count in CROWDS:
            runs = {"alone": one_by_one(count, *shape), "as one": as_one(count, *shape)}
            show(f"K = {count}", shape, runs)


def main() -> int:
    parts = {"kernels": kernels, "layers": layers, "models": models, "fused": fused}
    names = chosen(parts, __doc__)
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device: there is none here.", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    torch.set_default_device("cuda")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for name in names:
        parts[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
