"""The tally of a sweep's trials says what a look at every one of them says."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, TrialSpec
from sweeps.tally import Tally

TEXT = """
    name: counted
    data: {name: listops, train: 8, val: 8, test: 8}
    model: {name: s4d, n_layers: {choice: [1, 2, 3]}, init: {choice: [lin, inv, legs]}}
    train: {lr: {log_uniform: [0.001, 0.1]}}
    repeat: {seeds: 2}
    search: {sampler: random, trials: 12, max_failures: 100}
    """


@pytest.mark.parametrize("seed", range(3))
def test_it_says_what_a_look_at_every_trial_says(
    load: Callable[..., sweeps.SweepSpec], tmp_path: Path, seed: int
) -> None:
    """Whatever happens in between: starts, ends, failures, repeats, and trials enqueued."""
    rng = random.Random(seed)
    study = Study.create(load(TEXT), tmp_path)
    study.recover()
    kept = Tally(study.ledger)
    running: list[TrialSpec] = []
    while True:
        if rng.random() < 0.1:
            study.enqueue({"train.lr": rng.uniform(0.001, 0.1)})
        asked = study.ask() if len(running) < 3 else None
        if isinstance(asked, TrialSpec):
            running.append(asked)
        elif running:
            spec = running.pop(rng.randrange(len(running)))
            outcome = Outcome(study.spec.objectives)
            report = EpochReport(epoch=1, metrics={"val/accuracy": rng.random(), "epoch_s": 1.0})
            study.report(spec.number, report)
            outcome.add(report)
            error = "ValueError: no luck" if rng.random() < 0.3 else None
            study.tell(outcome.result(spec, error=error))
        anew = Tally(study.ledger)
        kept.look(), anew.look()
        for some in set(vars(anew)) - {"_ledger", "_open"}:
            assert getattr(kept, some) == getattr(anew, some), some
        if isinstance(asked, Finished):
            break
    assert len(kept.failed) > 0 and len(kept.results) > 12
    assert len(kept.counted) == 12
