"""K trials trained as one model against K trained one after the other: steps per second of each.

CPU time of one thread, interleaved, medians; forward, backward and AdamW of a 4-layer S4D.

    OMP_NUM_THREADS=1 python benchmarks/fused_trials.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from s4core import TrainConfig, build
from s4core.train.fused_model import FusedModel
from s4core.train.fused_optim import StackedAdamW
from s4core.train.optim import build_optimizer

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("ms a trial and step: one by one, as one (gain)")
    for d_model, batch, length in SHAPES:
        cells = []
        for count in CROWDS:
            steps = [make(count, d_model, batch, length) for make in (one_by_one, as_one)]
            times: list[list[float]] = [[], []]
            for _ in range(args.rounds + 1):
                for step, seen in zip(steps, times, strict=True):
                    start = time.process_time()
                    step()
                    seen.append(1e3 * (time.process_time() - start) / count)
            alone, together = (statistics.median(seen[1:]) for seen in times)
            cells.append(f"K={count}: {alone:.2f}, {together:.2f} ({alone / together:.2f}x)")
        print(f"(H, B, L) = {(d_model, batch, length)!s:14} " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
