"""Steps per second of whole models, one sequence, one core.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--compile]

The target is 2000 steps/s for six layers of 128 channels.
"""

from __future__ import annotations

import argparse
import time

import torch

from s4core import TaskShape, build

STEPS = 1000


@torch.inference_mode()
def steps_per_second(
    block: dict[str, object], *, batch: int, repeats: int, compiled: bool
) -> float:
    """The best of `repeats` runs of STEPS steps, by the CPU time of the one thread."""
    torch.manual_seed(0)
    shape = TaskShape(d_input=16, d_output=16, length=4096, tokens=True, target="step_class")
    model = build(block, shape).eval()
    step = model.step
    if compiled:
        torch.compiler.reset()  # of one function a process compiles eight versions
        step = torch.compile(step, fullgraph=True)
    x, state = torch.zeros(batch, dtype=torch.int64), model.initial_state(batch)
    for _ in range(3):
        _, state = step(x, state)
    best = 0.0
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(STEPS):
            _, state = step(x, state)
        best = max(best, STEPS / (time.process_time() - start))
    return best


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="by torch.compile")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("s4d", "s4", "dss", "s5", "lru", "mega_ema", "s6", "ssd"):
        block = {"name": name, "n_layers": args.layers, "d_model": args.d_model}
        rate = steps_per_second(
            block, batch=args.batch, repeats=args.repeats, compiled=args.compile
        )
        print(f"{name:10s} {rate:8.0f} steps/s  {1e6 / rate / args.layers:6.1f} us a layer")


if __name__ == "__main__":
    main()
