"""K trials trained as one model against K trained one after the other: steps per second of each.

CPU time of one thread, interleaved, medians; forward, backward and AdamW of a 4-layer S4D. `sweep`:
whole sweeps of eight trials with and without `resources.fuse`, everything included.

    OMP_NUM_THREADS=1 python benchmarks/fused_trials.py
    OMP_NUM_THREADS=1 python benchmarks/fused_trials.py sweep --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from s4core import TrainConfig, build
from s4core.train.fused_model import FusedModel
from s4core.train.fused_optim import StackedAdamW
from s4core.train.optim import build_optimizer
from s4core.train.process import tune_process

# (d_model, batch, length)
SHAPES = [(64, 16, 784), (32, 8, 256), (16, 4, 128)]
CROWDS = [1, 4, 8, 16]


def models(count: int, d_model: int, length: int) -> list[torch.nn.Module]:
    block = {"name": "s4d", "d_model": d_model, "n_layers": 4, "dropout": 0.1, "init": "lin"}
    shape = {"d_input": 1, "d_output": 10, "length": length}
    return [made(lambda: build(block, shape)) for _ in range(count)]


def made(make):
    """A module made on the CPU, where its initial values are computed, on the default device."""
    with torch.device("cpu"):
        module = make()
    return module.to(torch.get_default_device())


def one_by_one(count: int, d_model: int, batch: int, length: int):
    nets = models(count, d_model, length)
    optimizers = [build_optimizer(net, TrainConfig()) for net in nets]
    x, y = torch.randn(batch, length, 1), torch.randint(0, 10, (batch,))

    def step() -> None:
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    return step


def as_one(count: int, d_model: int, batch: int, length: int):
    nets = models(count, d_model, length)
    device = torch.get_default_device()
    generators = [torch.Generator(device).manual_seed(k) for k in range(count)]
    fused = FusedModel(nets, generators)
    optimizer = StackedAdamW(fused.parameters, [build_optimizer(n, TrainConfig()) for n in nets])
    x, y = torch.randn(count, batch, length, 1), torch.randint(0, 10, (batch,))

    def step() -> None:
        losses = [F.cross_entropy(output, y) for output in fused(x)]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step([None] * count)

    return step


SWEEP = """
name: fused
data: {DATA}
model: {name: s4d, MODEL, dropout: {uniform: [0.0, 0.2]}}
train: {TRAIN, lr: {log_uniform: [0.001, 0.01]}}
search: {sampler: random, pruner: none, trials: 8}
resources: {fuse: FUSE}
"""
SWEEPS = {
    "copying, 120 steps, batch 8, 2 layers of 16": (
        "name: copying, train: 2000, val: 200, test: 200", "d_model: 16, n_layers: 2",
        "epochs: 2, batch_size: 8, eval_batch_size: 100",
    ),
    "smnist (5,000), 784 steps, batch 50, 3 pooled layers of 32": (
        "name: smnist, variant: mlxtend5k",
        "d_model: 32, n_layers: 3, norm: batch, block_pool: avg, pool_stride: 4",
        "epochs: 1, batch_size: 50",
    ),
}  # fmt: skip


def sweep(blocks: tuple[str, str, str], fuse: int, home: Path) -> tuple[float, float, float]:
    """CPU seconds of a whole sweep; of its epochs, and what it says that fusing spared."""
    # Here, so that the rest needs torch and numpy alone.
    from sweeps import load_spec, run_inline

    text = SWEEP.replace("FUSE", str(fuse)).replace("fused", f"fused{fuse}-{time.time_ns()}")
    for key, block in zip(("DATA", "MODEL", "TRAIN"), blocks, strict=True):
        text = text.replace(key, block)
    path = home / "sweep.yaml"
    path.write_text(text)
    start = time.process_time()
    result = run_inline(load_spec(path), home)
    spent = time.process_time() - start
    return spent, sum(t.seconds for t in result.trials), sum(t.spared for t in result.trials)


def prepare(block: str, home: Path) -> None:
    import yaml

    from data_prep import open_dataset

    options = yaml.safe_load(f"{{{block}}}")
    open_dataset(options.pop("name"), options, home=home)


def compare_sweeps(rounds: int) -> None:
    print("CPU s of a sweep (seconds of its epochs, what fusing spared of them by its own account)")
    for what, blocks in SWEEPS.items():
        seen: dict[int, list[tuple[float, float, float]]] = {1: [], 4: [], 8: []}
        with tempfile.TemporaryDirectory() as folder:
            prepare(blocks[0], Path(folder))
            for _ in range(rounds):
                for fuse, times in seen.items():
                    times.append(sweep(blocks, fuse, Path(folder)))
        base = statistics.median(cpu for cpu, _, _ in seen[1])
        print(what)
        for fuse, times in seen.items():
            cpu, spent, spared = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"  fuse {fuse}: {cpu:.1f} ({spent:.1f}, {spared:.1f}), {base / cpu:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["steps", "sweep"], nargs="?", default="steps")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tune_process()
    if args.what == "sweep":
        compare_sweeps(args.rounds)
    else:
        compare_steps(args.rounds)


def compare_steps(rounds: int) -> None:
    print("ms a trial and step: one by one, as one (gain)")
    for d_model, batch, length in SHAPES:
        cells = []
        for count in CROWDS:
            steps = [make(count, d_model, batch, length) for make in (one_by_one, as_one)]
            times: list[list[float]] = [[], []]
            for _ in range(rounds + 1):
                for step, seen in zip(steps, times, strict=True):
                    start = time.process_time()
                    step()
                    seen.append(1e3 * (time.process_time() - start) / count)
            alone, together = (statistics.median(seen[1:]) for seen in times)
            cells.append(f"K={count}: {alone:.2f}, {together:.2f} ({alone / together:.2f}x)")
        print(f"(H, B, L) = {(d_model, batch, length)!s:14} " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
