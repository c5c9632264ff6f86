"""Write waves/waves.csv: 600 noisy series of 128 steps, sine, square or saw-tooth waves."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def main() -> None:
    """Write the file into the folder `waves` beside this script."""
    rng = np.random.default_rng(0)
    time = np.linspace(0.0, 1.0, 128)
    shapes = {
        "sine": lambda phase: np.sin(2 * np.pi * phase),
        "square": lambda phase: np.where(phase % 1.0 < 0.5, 1.0, -1.0),
        "saw": lambda phase: 2.0 * (phase % 1.0) - 1.0,
    }
    folder = Path(__file__).parent / "waves"
    folder.mkdir(exist_ok=True)
    with open(folder / "waves.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", *(f"t{i}" for i in range(len(time)))])
        for row in range(600):
            name = list(shapes)[row % 3]
            phase = rng.uniform(2.0, 6.0) * time + rng.uniform()
            series = shapes[name](phase) + rng.normal(0.0, 0.5, len(time))
            table.writerow([name, *(f"{value:.4f}" for value in series)])


if __name__ == "__main__":
    main()
