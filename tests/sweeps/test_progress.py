"""How far a trial is within an epoch, as others read it from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import data_prep
import sweeps
from sweeps import progress
from sweeps.progress import FILE, Counted, ProgressFile, read_progress

FEW = {"train": 48, "val": 24, "test": 24, "min_length": 3, "max_length": 16, "l_max": 16}


@pytest.fixture
def listops(tmp_path: Path) -> data_prep.Dataset:
    return data_prep.open_dataset("listops", FEW, home=tmp_path)


def test_each_batch_is_told_of_when_those_before_it_are_done(listops: data_prep.Dataset) -> None:
    told: list[tuple[str, int, int]] = []
    counted = Counted(listops, lambda *words: told.append(words))
    whole = {"batch_size": 20, "epoch": 1, "seed": 0, "shuffle": True}
    ours = [batch.index.tolist() for batch in counted.batches("train", **whole)]
    assert ours == [batch.index.tolist() for batch in listops.batches("train", **whole)]
    assert told == [("train", done, 3) for done in (0, 1, 2, 3)]
    told.clear()
    list(counted.batches("train", **whole, rank=1, world=2))
    assert told == [("train", done, 2) for done in (0, 1, 2)]


def test_a_file_holds_the_last_word_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ProgressFile(tmp_path, lambda: {"system/cpu_utilization_percentage": 99.0})
    assert read_progress(tmp_path) is None
    file("train", 1, 80)
    file("train", 2, 80)
    word = {"split": "train", "done": 1, "total": 80}
    assert read_progress(tmp_path) == {**word, "host": {"system/cpu_utilization_percentage": 99.0}}
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    file("val", 3, 9)
    found = read_progress(tmp_path)
    assert found is not None and (found["split"], found["done"], found["total"]) == ("val", 3, 9)
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_trial_tells_while_it_trains_and_leaves_nothing(tmp_path: Path) -> None:
    spec = sweeps.TrialSpec(
        sweep="t",
        number=0,
        data={"name": "listops", **FEW},
        model={"name": "s4d", "d_model": 8, "n_layers": 1},
        train={"epochs": 2, "batch_size": 16},
        objective=sweeps.Objective(),
        seed=0,
    )
    trial = tmp_path / "trial"
    stream = sweeps.run_trial(spec, trial, home=tmp_path)
    next(stream)
    word = read_progress(trial)
    assert word is not None and word["total"] == 3
    assert list(stream)
    assert not (trial / FILE).exists()
