"""The best model of a sweep in MLflow's registry, on request: loadable with `mlflow.pyfunc`."""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import s4core
from dashboards import ship_state
from dashboards.errors import DashboardError
from dashboards.record import SweepRecord
from dashboards.shipper import sync
from dashboards.store import default_uri, open_client
from sweeps.types import TrialSpec

EXAMPLES = 2  # sequences in the input example


def register(
    home: Path, name: str, *, model: str | None = None, trial: int | None = None
) -> tuple[str, str]:
    """Make a new version of a registered model of a trial; returns (model, version).

    model: its name, that of the sweep if None. trial: None for the best one. The version has the
    signature, an input example out of the data set, and the run it comes from. Raises
    DashboardError if the trial has no checkpoint, StoreAway, and what opening the data raises.
    """
    record = SweepRecord.of(home, name)
    best = record.ended().best
    number = trial if trial is not None else best.number if best else None
    if number is None:
        raise DashboardError(f"sweep {name!r} has no trial with a value yet.")
    folder, spec = record.trial(number).folder, record.trial(number).spec()
    if spec is None:
        raise DashboardError(f"sweep {name!r} has no trial {number} that has begun.")
    if not (folder / "best.pt").exists():
        raise DashboardError(f"trial {number} of sweep {name!r} has no best.pt.")
    sync(home, name)
    uri = default_uri(home)
    run_id = ship_state.load(record, uri).trials[number].run_id
    client = open_client(home, uri)
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        with warnings.catch_warnings():
            # Advice to MLflow's own authors and to users of data frames, on import and on saving.
            warnings.simplefilter("ignore", UserWarning)
            _save(saved, folder, spec, home)
        client.log_artifacts(run_id, str(saved), "model")
    chosen = model or name
    if not client.search_registered_models(f"name = '{chosen}'"):
        client.create_registered_model(chosen)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    tags = {"sweep": name, "trial": str(number)}
    version = client.create_model_version(chosen, source, run_id, tags=tags)
    return chosen, str(version.version)


def _save(path: Path, folder: Path, spec: TrialSpec, home: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from s4core.predict import Predictor

    predictor = Predictor(folder, device="cpu")
    if predictor.needs_dt:
        raise DashboardError(
            "a model of irregular steps wants their times too, and MLflow serves functions of one "
            "array: `s4sweep export` writes it as files."
        )
    x = next(_examples(spec, home))
    scores = predictor(x, lengths=None if not predictor.shape.ragged else _full(x))
    mlflow.pyfunc.save_model(
        path=str(path),
        python_model=str(Path(__file__).parent / "served_model.py"),
        artifacts={"checkpoint": str(folder / "best.pt")},
        code_paths=[str(Path(s4core.__file__).parent)],
        signature=ModelSignature(
            inputs=Schema([TensorSpec(x.dtype, (-1, -1, *x.shape[2:]))]),  # of any length
            outputs=Schema(
                [TensorSpec(scores.dtype, (-1,) * (scores.ndim - 1) + scores.shape[-1:])]
            ),
        ),
        input_example=x,
        pip_requirements=[f"{p}=={importlib.metadata.version(p)}" for p in ("torch", "numpy")],
    )


def _examples(spec: TrialSpec, home: Path) -> Iterator[Any]:
    from sweeps.trial import open_data

    data = open_data(spec, home)
    split = "test" if "test" in data.splits else "val"
    for batch in data.batches(split, batch_size=EXAMPLES, shuffle=False):
        yield batch.x


def _full(x: Any) -> Any:
    import numpy as np

    return np.full(len(x), x.shape[1])
