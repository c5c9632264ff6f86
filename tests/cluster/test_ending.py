"""What is printed when a sweep has ended."""

from __future__ import annotations

import io
from pathlib import Path

from cluster.driver import Ended
from cluster.ending import tell
from s4core.train.report import EpochReport
from sweeps import Outcome, Study, load_spec
from sweeps.types import TrialSpec

SWEEP = """
name: baselined
preset: lra/listops/s4d-legs
model: {init: {choice: [legs, lin, inv]}}
search: {trials: 2}
baselines: [lra/listops/s4d-lin]
"""


def test_a_published_experiment_stands_beside_what_it_came_to_here(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    study = Study.create(load_spec(tmp_path / "sweep.yaml"), tmp_path)
    study.recover()
    for value in (0.5, 0.25):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        outcome = Outcome(study.spec.objectives)
        metrics = {"val/accuracy": value, "epoch_s": 1800.0}
        outcome.add(EpochReport(epoch=1, metrics=metrics, stopped_by="epochs"))
        study.tell(outcome.result(spec))
    out = io.StringIO()
    tell(study, Ended(result=study.result()), out)
    lines = out.getvalue().splitlines()
    beside = [line for line in lines if "published" in line]
    assert beside == [
        "lra/listops/s4d-lin: published test/accuracy 0.6052, here val/accuracy 0.5000 (trial 0)"
    ]
    assert "cost: 1.00 CPU hours" in lines
