"""Six steps of the published S5, its four groupings and its schedule, reproduced by `Training`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.config import TaskShape
from s4core.convert.s5 import load_s5_model
from s4core.models import build
from s4core.train.config import TrainConfig
from s4core.train.training import Training
from tests.s4core.train.tiny import Batch

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "s5_optim.npz")
MODEL = {"name": "s5", "d_model": 4, "d_state": 8, "blocks": 1, "n_layers": 1}
SHAPE = TaskShape(d_input=3, d_output=3, length=13)


class Recorded:
    """The six recorded batches, two an epoch."""

    def size(self, split: str) -> int:
        return 8

    def batches(self, split: str, *, epoch: int, **_: object) -> Iterator[Batch]:
        x, y = GOLDEN["traj/x"].astype(np.float32), GOLDEN["traj/labels"].astype(np.int64)
        for i in range(2 * max(epoch - 1, 0), 2 * max(epoch - 1, 0) + 2):
            yield Batch(x[i], y[i])


def arrays(variant: str, when: str) -> dict[str, np.ndarray]:
    """Parameters at step 0 (p0) or 6 (p6), with the running statistics of that moment."""
    norm = "batch_stats/encoder/layers_0/norm/"
    found = {f"{norm}mean": np.zeros(4, np.float32), f"{norm}var": np.ones(4, np.float32)}
    homes = {f"traj/{variant}/{when}/": "params/"}
    if when == "p6":
        homes[f"traj/{variant}/bs6/"] = "batch_stats/"
    for prefix, home in homes.items():
        names = [k for k in GOLDEN.files if k.startswith(prefix)]
        found |= {home + k.removeprefix(prefix): GOLDEN[k] for k in names}
    return found


@pytest.mark.parametrize("variant", ["standard", "BandCdecay", "BfastandCdecay", "noBCdecay"])
def test_the_published_trajectory(variant):
    train = TrainConfig(
        epochs=3, batch_size=4, lr=4e-3, ssm_lr=1e-3, weight_decay=0.05, schedule="s5", warmup=1.0,
        ssm_decay=variant, decay_bias=True, decay_norm=True,
    )  # fmt: skip
    training = Training(MODEL, SHAPE, train, Recorded(), seed=0, device=torch.device("cpu"))
    load_s5_model(training.model, arrays(variant, "p0"))
    losses = [training.run_epoch(e, plateau=1.0)["train/loss"] for e in (1, 2, 3)]
    published = GOLDEN[f"traj/{variant}/loss"].reshape(3, 2).mean(1)
    np.testing.assert_allclose(losses, published, rtol=2e-6)
    after = build(MODEL, SHAPE)
    load_s5_model(after, arrays(variant, "p6"))
    expected = after.state_dict()
    for name, tensor in training.model.state_dict().items():
        # Float32 on both sides; Adam divides small gradients by their own size.
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=2e-5, msg=name)
