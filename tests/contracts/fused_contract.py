"""What every engine keeps when it trains trials as one (`resources.fuse`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_contract import Run, Watcher, check_record, tiny

from s4core.train.report import MEASURED
from sweeps import Study, SweepSpec
from sweeps.types import TrialState

DATA = {"name": "copying", "train": 256, "val": 16, "test": 16, "l_noise": 8, "l_memorize": 4}
MODEL = {"name": "s4d", "d_model": 8, "n_layers": 1, "d_state": 8}


def crowded(folder: Path, **blocks: Any) -> SweepSpec:
    """A sweep of seconds, of trials of one shape, in crews of three."""
    blocks = {"data": DATA, "model": MODEL, **blocks}
    blocks["resources"] = {"fuse": 3, **blocks.get("resources", {})}
    return tiny(folder, **blocks)


def curves(home: Path) -> list[list[dict[str, float]]]:
    """What each trial has said, times apart."""
    study = Study.open("tiny", home)
    return [
        [
            {k: v for k, v in json.loads(line)["metrics"].items() if k not in MEASURED}
            for line in (study.trial_folder(t.number) / "metrics.jsonl").read_text().splitlines()
        ]
        for t in study.result().trials
    ]


def crowds(home: Path, number: int) -> list[int]:
    """How many were trained as one in each start of a trial."""
    path = Study.open("tiny", home).trial_folder(number) / "attempts.jsonl"
    return [json.loads(line)["crowd"] for line in path.read_text().splitlines()]


class FusedContract:
    """The suite."""

    @pytest.fixture
    def run(self) -> Run:
        """Give the engine under test."""
        raise NotImplementedError

    def test_a_crew_says_of_each_trial_what_it_would_say_alone(
        self, run: Run, tmp_path: Path
    ) -> None:
        model = {**MODEL, "dropout": {"uniform": [0.0, 0.3]}, "init": {"choice": ["lin", "legs"]}}
        watcher = Watcher()
        run(crowded(tmp_path / "a", model=model), tmp_path / "a", watcher)
        run(crowded(tmp_path / "b", model=model, resources={"fuse": 1}), tmp_path / "b", Watcher())
        result = check_record(tmp_path / "a", "tiny", trials=3)
        assert watcher.epochs == {number: [1, 2, 3] for number in range(3)}
        assert watcher.ended == {t.number: t for t in result.trials}
        assert sorted(watcher.started) == [0, 1, 2]
        for number, (fused, alone) in enumerate(
            zip(curves(tmp_path / "a"), curves(tmp_path / "b"), strict=True)
        ):
            assert crowds(tmp_path / "a", number) == [3]
            for one, other in zip(fused, alone, strict=True):
                # float32, added up in another order; an answer near the border may change sides.
                near = {k: 0.04 if "accuracy" in k else 1e-3 for k in other}
                assert set(one) == set(other)
                for k, value in other.items():
                    assert one[k] == pytest.approx(value, rel=near[k], abs=near[k]), k

    def test_who_ends_makes_room_for_another(self, run: Run, tmp_path: Path) -> None:
        """Of two trials a rung at most half go on; the crew after that is filled up again."""
        pruner = {"name": "asha", "min_epochs": 1, "factor": 2}
        watcher = Watcher()
        search = {"pruner": pruner, "trials": 6}
        run(crowded(tmp_path, search=search, train={"epochs": 4}), tmp_path, watcher)
        trials = check_record(tmp_path, "tiny", trials=6).trials
        pruned = [t for t in trials if t.state is TrialState.PRUNED]
        completed = [t for t in trials if t.state is TrialState.COMPLETED]
        assert pruned and completed and len(pruned) + len(completed) == 6
        assert all(t.epochs == 4 for t in completed)
        for trial in trials:
            assert watcher.epochs[trial.number] == list(range(1, trial.epochs + 1))
        assert sorted(watcher.started) == list(range(6)), "a change of crews is no new start"
        starts = [crowds(tmp_path, n) for n in range(6)]
        assert max(map(len, starts)) > 1
        assert sum(size for sizes in starts for size in sizes) > 6, starts

    def test_one_that_diverges_fails_alone(self, run: Run, tmp_path: Path) -> None:
        train = {"lr": {"choice": [0.01, 1.0e30, 0.02]}}
        search = {"sampler": "grid", "trials": 3}
        run(crowded(tmp_path, train=train, search=search), tmp_path, Watcher())
        trials = check_record(tmp_path, "tiny", trials=2).trials
        (failed,) = (t for t in trials if t.state is TrialState.FAILED)
        assert failed.params["train.lr"] == 1e30
        assert "Diverged: the loss became" in (failed.error or "")
        assert all(t.epochs == 3 for t in trials if t is not failed)

    def test_an_error_of_one_is_found_when_they_go_on_apart(self, run: Run, tmp_path: Path) -> None:
        model = {**MODEL, "name": "lab.striking", "dropout": {"choice": [0.0, 0.5, 0.1]}}
        search = {"sampler": "grid", "trials": 3}
        spec = crowded(tmp_path, model=model, search=search, train={"lr": 0.01})
        run(spec, tmp_path, Watcher())
        trials = check_record(tmp_path, "tiny", trials=2).trials
        (failed,) = (t for t in trials if t.state is TrialState.FAILED)
        assert failed.params["model.dropout"] == 0.5
        assert "this model strikes" in (failed.error or "")
        assert {tuple(crowds(tmp_path, n)) for n in range(3)} == {(3, 1)}

    def test_what_cannot_be_fused_runs_alone(self, run: Run, tmp_path: Path) -> None:
        """Trials of two shapes, of which no crew takes the one."""
        model = {**MODEL, "residual": {"choice": ["add", "affine"]}}
        train = {"epochs": 1, "lr": {"choice": [0.005, 0.01]}}
        search = {"sampler": "grid", "trials": 4}
        spec = crowded(tmp_path, model=model, search=search, train=train, resources={"fuse": 4})
        run(spec, tmp_path, Watcher())
        trials = check_record(tmp_path, "tiny", trials=4).trials
        assert {t.state for t in trials} == {TrialState.COMPLETED}
        last = {(t.params["model.residual"], crowds(tmp_path, t.number)[-1]) for t in trials}
        assert last == {("add", 2), ("affine", 1)}
