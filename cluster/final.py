"""The test of the best trial, on a worker that may hold it, once its sweep has ended."""

from __future__ import annotations

import json
from pathlib import Path

import ray

from cluster.placement import Placement
from cluster.telling import Teller, listen
from data_prep.fetch import Progress
from sweeps import Study
from sweeps.files import write_json
from sweeps.types import TrialSpec


def test_best(
    study: Study, home: Path, placement: Placement, tell: Progress
) -> dict[str, float] | None:
    """Test metrics of the best trial; None when its data has no test split.

    The figures are kept in the trial's test.json and are made again when best.pt is newer.
    """
    best = study.result().best
    assert best is not None
    folder = Path(study.trial_folder(best.number))
    task = ray.remote(num_cpus=placement.cpus, num_gpus=placement.gpus, max_retries=2)(test_trial)
    teller = Teller()
    metrics: dict[str, float] | None
    (metrics,) = listen([(task.remote(str(folder), str(home), teller), teller)], tell)
    return metrics


def test_trial(folder: str, home: str, tell: Progress) -> dict[str, float] | None:
    """Evaluate best.pt of one trial on the test split and keep the figures in test.json."""
    from s4core import evaluate
    from sweeps.progress import Counted
    from sweeps.remote_home import bring_trial, open_anywhere, send_test

    here = bring_trial(Path(folder), home=Path(home))
    kept = here / "test.json"
    if kept.exists() and kept.stat().st_mtime >= (here / "best.pt").stat().st_mtime:
        metrics: dict[str, float] = json.loads(kept.read_text())
        return metrics
    spec = TrialSpec.from_json(json.loads((here / "spec.json").read_text()))
    dataset = open_anywhere(spec.data, home=Path(home))
    if "test" not in dataset.splits:
        return None
    metrics = dict(evaluate(here, Counted(dataset, tell), split="test", checkpoint="best"))
    write_json(kept, metrics)
    send_test(kept)
    return metrics
