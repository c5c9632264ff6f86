"""The study in a database, and in a journal that several processes write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

import sweeps
from sweeps import Finished, Outcome, Study, TrialSpec
from sweeps.storage import open_storage

Load = Callable[..., sweeps.SweepSpec]


def play(study: Study) -> int:
    study.recover()
    count = 0
    while isinstance(spec := study.ask(), TrialSpec):
        from s4core.train.report import EpochReport

        outcome = Outcome(study.spec.objectives)
        report = EpochReport(epoch=1, metrics={"val/accuracy": 0.5}, stopped_by="epochs")
        outcome.add(report)
        study.report(spec.number, report)
        study.tell(outcome.result(spec))
        count += 1
    assert isinstance(spec, Finished)
    return count


def test_a_database_holds_the_study_and_the_spec_does_not_hold_its_password(
    load: Load, tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    monkeypatch.setenv("MY_STORAGE", url)
    spec = load(tiny_text + "storage: {env: MY_STORAGE}\n")
    study = Study.create(spec, tmp_path)
    assert play(study) == 4
    assert not (study.folder / "study.journal").exists()
    assert str(tmp_path / "studies.db") not in (study.folder / "spec.json").read_text()
    again = Study.open("tiny", tmp_path)
    assert len(again.result().trials) == 4
    again.extend(1)
    assert play(again) == 1
    theirs = optuna.load_study(study_name="tiny", storage=url)  # as optuna-dashboard does
    assert len(theirs.trials) == 5
    monkeypatch.delenv("MY_STORAGE")
    with pytest.raises(sweeps.StudyError, match="the environment variable MY_STORAGE"):
        Study.open("tiny", tmp_path)


def test_a_sweep_that_could_not_begin_leaves_its_name_free_in_a_database(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    text = f"{tiny_text}storage: sqlite:///{tmp_path}/studies.db\n"
    for _ in range(2):
        with pytest.raises(sweeps.StudyError, match="from: no sweep 'nosuch'"):
            Study.create(load(f"{text}from: nosuch\n"), tmp_path)
    Study.create(load(text), tmp_path)


def test_a_database_that_cannot_be_reached_is_said_without_its_password(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    spec = load(tiny_text + "storage: sqlite:////nowhere/at/all.db?password=secret\n")
    with pytest.raises(sweeps.StudyError) as caught:
        Study.create(spec, tmp_path)
    assert "cannot open the database" in str(caught.value) and "secret" not in str(caught.value)


def test_a_study_of_another_home_is_not_taken_over(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    spec = load(tiny_text + f"storage: sqlite:///{tmp_path}/studies.db\n")
    play(Study.create(spec, tmp_path / "one"))
    with pytest.raises(sweeps.StudyError, match="has a study 'tiny' already, of another home"):
        Study.create(spec, tmp_path / "two")


@pytest.mark.parametrize("storage", ["", "storage: sqlite:///{home}/studies.db\n"])
def test_a_study_that_is_gone_is_not_begun_again(
    load: Load, tiny_text: str, tmp_path: Path, storage: str
) -> None:
    study = Study.create(load(tiny_text + storage.format(home=tmp_path)), tmp_path)
    for file in (tmp_path / "studies.db", study.folder / "study.journal"):
        file.unlink(missing_ok=True)
    with pytest.raises(sweeps.StudyError, match="the study of sweep 'tiny' is gone from"):
        Study.open("tiny", tmp_path)


@pytest.mark.parametrize("url", ["sqlite:///studies.db", "sqlite://", "sqlite:///:memory:"])
def test_a_file_of_sqlite_needs_its_whole_path(
    load: Load, tiny_text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    with pytest.raises(sweeps.SpecError, match=r"storage: a SQLite file needs its whole path"):
        load(tiny_text + f"storage: '{url}'\n")
    monkeypatch.setenv("MY_STORAGE", url)
    with pytest.raises(sweeps.StudyError, match="a SQLite file needs its whole path"):
        Study.create(load(tiny_text + "storage: {env: MY_STORAGE}\n"), tmp_path)


def test_a_database_without_its_driver_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(sweeps.StudyError) as caught:
        open_storage(tmp_path, "oracle+cx_oracle://me:secret@host/studies")
    said = "storage: no driver of this database here: No module named 'cx_Oracle'."
    assert str(caught.value) == said


ENQUEUER = """
import sys
from pathlib import Path
import sweeps
study = sweeps.Study.open("tiny", Path(sys.argv[1]))
for i in range(10):
    study.enqueue({"train.lr": 0.001 + float(sys.argv[2]) + i / 1000})
"""


def test_other_processes_enqueue_while_the_driver_works(
    load: Load, tiny_text: str, tmp_path: Path
) -> None:
    study = Study.create(load(tiny_text.replace("trials: 4", "trials: 40")), tmp_path)
    others = [
        subprocess.Popen([sys.executable, "-c", ENQUEUER, str(tmp_path), offset],
                         cwd=Path(__file__).parents[2])
        for offset in ("0.01", "0.05")
    ]  # fmt: skip
    done = play(study)
    assert [other.wait(timeout=120) for other in others] == [0, 0]
    done += play(study)
    results = study.result().trials
    assert done == len(results) and len(results) >= 40
    assert sum(t.label == "enqueued" for t in results) == 20
    assert [t.number for t in results] == list(range(len(results)))
