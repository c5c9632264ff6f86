"""Two processes that share the batches train what one process trains on the whole batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from s4core.config import TaskShape
from s4core.train import checkpoint
from s4core.train.config import TrainConfig
from s4core.train.fit import fit
from s4core.train.report import EpochReport
from tests.s4core.train.test_fit import told
from tests.s4core.train.tiny import Waves

ROOT = Path(__file__).parents[3]
CHILD = """
import json, sys
from pathlib import Path
import torch.distributed as dist
from tests.s4core.train.test_distributed import run
from tests.s4core.train.test_fit import told
folder, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
for name in ("plain", "tiny"):
    told(run(name, folder / name, 8, epochs=2))
    print(json.dumps(told(run(name, folder / name, 8, epochs=3))))
dist.destroy_process_group()
"""


def run(name: str, folder: Path, batch_size: int, *, epochs: int) -> Iterator[EpochReport]:
    shape = TaskShape(d_input=1, d_output=3, length=24)
    train = TrainConfig(
        epochs=epochs, batch_size=batch_size, optimizer="sgd", lr=0.05, schedule="constant"
    )
    return fit({"name": f"tests.s4core.train.{name}"}, shape, train, Waves(), folder)


def test_two_processes_train_as_one(tmp_path):
    """The plain model as in one process with twice the batch, to float32 rounding.

    The tiny one has batch norm and dropout: its processes agree with each other. Both went on from
    a checkpoint after two epochs.
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(rank)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs[0] == outputs[1], "every process tells the same, replayed epochs too"
    together = json.loads(outputs[0].splitlines()[0])
    alone = told(run("plain", tmp_path / "alone", 16, epochs=3))
    for report, single in zip(together, alone, strict=True):
        assert report["metrics"] == pytest.approx(single["metrics"], rel=1e-4)
    theirs = checkpoint.read(tmp_path / "alone" / "last.pt")["model"]
    for key, tensor in checkpoint.read(tmp_path / "plain" / "last.pt")["model"].items():
        torch.testing.assert_close(tensor, theirs[key], rtol=1e-4, atol=1e-5)
