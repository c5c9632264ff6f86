"""A real trial, registered and loaded again by a process that knows nothing of this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sweep_folders

from dashboards.errors import DashboardError
from dashboards.registry import register
from dashboards.store import default_uri
from sweeps import run_trial
from sweeps.types import Objective, TrialResult, TrialSpec, TrialState

LOAD = """
import sys, numpy as np
import mlflow
assert not [m for m in sys.modules if m.startswith(("s4core", "dashboards"))]
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/demo/1")
np.save(sys.argv[2], model.predict(np.load(sys.argv[3])))
print(model.metadata.signature)
"""


def make_trained(home: Path) -> Path:
    folder = sweep_folders.make_sweep(home, trials=0)
    data = {"name": "listops", "train": 32, "val": 16, "test": 16}
    data |= {"min_length": 3, "max_length": 20, "l_max": 24}
    spec = TrialSpec(
        sweep="demo",
        number=0,
        data=data,
        model={"name": "s4d", "d_model": 8, "n_layers": 1, "d_state": 8},
        train={"epochs": 1, "batch_size": 16},
        objective=Objective(),
        seed=0,
    )
    trial = folder / "trials" / "0000"
    list(run_trial(spec, trial, home=home))
    result = TrialResult(number=0, state=TrialState.COMPLETED, value=0.1, best_epoch=1, epochs=1)
    (trial / "result.json").write_text(json.dumps(result.to_json()))
    return trial


def test_a_registered_model_scores_as_the_trial_does(home: Path, tmp_path: Path) -> None:
    from s4core.predict import Predictor

    trial = make_trained(home)
    assert register(home, "demo") == ("demo", "1")
    x = np.random.default_rng(0).integers(0, 10, (3, 24))
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", LOAD, default_uri(home), "y.npy", "x.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "int64" in done.stdout
    expected = Predictor(trial, device="cpu")(x, lengths=np.full(3, 24))
    assert np.abs(np.load(tmp_path / "y.npy") - expected).max() < 1e-6


def test_a_trial_without_a_checkpoint_is_refused(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=1)
    (folder / "trials" / "0000" / "best.pt").unlink()
    with pytest.raises(DashboardError, match=r"trial 0 of sweep 'demo' has no best\.pt"):
        register(home, "demo")
    with pytest.raises(DashboardError, match="sweep 'demo' has no trial 7 that has begun"):
        register(home, "demo", trial=7)
    shutil.rmtree(folder / "trials" / "0000")
    with pytest.raises(DashboardError, match="no trial with a value"):
        register(home, "demo")
