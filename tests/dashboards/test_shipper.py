"""The shipper against real SQLite stores; tests/dashboards/test_outages.py has the real servers."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sweep_folders
from filelock import FileLock

from dashboards import sender as sender_module
from dashboards.errors import ShipperBusy
from dashboards.leaderboard import ranking
from dashboards.record import SweepRecord
from dashboards.shipper import BUSY_S, Shipper, lag, start_shipper, sync
from dashboards.store import open_client
from sweeps.types import TrialState


def runs(home: Path, experiment: str) -> dict[str, Any]:
    found = open_client(home).search_runs([experiment])
    names = Counter(run.info.run_name for run in found)
    assert set(names.values()) == {1}, f"a trial has more than one run: {names}"
    return {run.info.run_name: run for run in found}


def history(home: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    points = open_client(home).get_metric_history(run.info.run_id, metric)
    return sorted((p.step, p.value) for p in points)


def test_a_sweep_becomes_an_experiment_with_a_flat_run_per_trial(home: Path) -> None:
    folder = sweep_folders.make_sweep(home)
    experiment = sync(home, "demo")
    found = runs(home, experiment)
    assert set(found) == {"00-summary", "0000", "0001", "0002"}
    run = found["0002"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "data.name": "smnist",
        "data.variant": "mlxtend5k",
        "model.name": "s4d",
        "model.d_model": "64",
        "model.init": "lin",
        "model.dropout": "0.1",
        "train.lr": "0.003",
        "train.epochs": "4",
        "train.betas": "[0.9, 0.999]",
        "seed": "2",
    }
    wanted = {"state": "completed", "model": "s4d", "dataset": "smnist", "sweep": "demo"}
    wanted |= {"seed": "2", "git_commit": "0123abc", "host": "node0", "device": "cpu"}
    assert wanted.items() <= run.data.tags.items()
    assert [step for step, _ in history(home, run, "val/accuracy")] == [1, 2, 3, 4]
    assert history(home, run, "train/loss")[2] == (3, math.exp(-3))
    client = open_client(home)
    best = client.download_artifacts(run.info.run_id, "checkpoint/best.pt", str(folder))
    assert Path(best).read_bytes() == b"weights"
    assert run.data.metrics["system/cpu_utilization_percentage"] == 90.0
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("smnist", "89abcdef01234567")
    assert [a.path for a in client.list_artifacts(found["0001"].info.run_id)] == ["spec.json"]


def test_a_member_of_a_population_has_the_settings_that_it_ends_with(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=0)
    spec = json.loads((folder / "spec.json").read_text())
    spec["search"] = {"sampler": {"name": "pbt"}, "pruner": {"name": "none"}}
    (folder / "spec.json").write_text(json.dumps(spec))
    trial = sweep_folders.start_trial(folder, 0) / "spec.json"
    sweep_folders.add_epoch(folder, 0, 1)
    experiment = sync(home, "demo")
    early = runs(home, experiment)["0000"].data.params
    assert early["model.d_model"] == "64"
    assert not {"train.lr", "train.epochs", "model.init"} & set(early)
    later = json.loads(trial.read_text())
    later["train"] |= {"lr": 0.5, "epochs": 8}
    trial.write_text(json.dumps(later))
    sweep_folders.end_trial(folder, 0, epochs=1)
    sync(home, "demo")
    run = runs(home, experiment)["0000"]
    assert (run.data.params["train.lr"], run.data.params["train.epochs"]) == ("0.5", "8")
    kept = open_client(home).download_artifacts(run.info.run_id, "spec.json")
    assert json.loads(Path(kept).read_text())["train"]["lr"] == 0.5


def test_the_summary_has_the_best_so_far_the_counts_and_the_leaderboard(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=2)
    sweep_folders.start_trial(folder, 2)
    sweep_folders.end_trial(folder, 2, epochs=0, state=TrialState.FAILED, error="out of memory")
    summary = runs(home, sync(home, "demo"))["00-summary"]
    best = history(home, summary, "sweep/best")
    assert best == [(1, pytest.approx(0.5)), (2, pytest.approx(0.51)), (3, pytest.approx(0.51))]
    assert history(home, summary, "sweep/trials_failed") == [(1, 0), (2, 0), (3, 1)]
    assert summary.data.metrics["sweep/trial_hours"] == pytest.approx(2 * 4 * 9 / 3600)
    assert summary.data.tags["best_trial"] == "0001"
    client = open_client(home)
    paths = {a.path for a in client.list_artifacts(summary.info.run_id)}
    assert paths == {"sweep.yaml", "leaderboard.json", "report.html"}


def test_the_best_so_far_is_a_mean_over_seeds_and_no_lucky_seed(home: Path) -> None:
    sweep_folders.make_repeated_sweep(home)
    summary = runs(home, sync(home, "demo"))["00-summary"]
    assert history(home, summary, "sweep/best") == [(n, 0.8) for n in (1, 2, 3, 4)]
    assert summary.data.tags["best_value"] == "0.8"
    hours = summary.data.metrics["sweep/trial_hours"]
    assert hours == pytest.approx(4 * 9 / 3600), "the seeds' time has been spent all the same"


def test_of_two_equal_trials_the_first_by_number_is_the_best_whichever_ended_first(
    home: Path,
) -> None:
    folder = sweep_folders.make_sweep(home, trials=0)
    for number, ended in ((0, 200.0), (1, 100.0)):
        sweep_folders.start_trial(folder, number)
        sweep_folders.end_trial(folder, number, value=0.9, ended=sweep_folders.START + ended)
    summary = runs(home, sync(home, "demo"))["00-summary"]
    assert summary.data.tags["best_trial"] == "0000"
    (first, *_) = ranking(SweepRecord(folder).ended())
    assert first.number == 0


def test_sending_again_changes_nothing(home: Path) -> None:
    folder = sweep_folders.make_sweep(home)
    before = runs(home, sync(home, "demo"))
    ship_id = open_client(home).search_experiments()[0].tags["s4sweep.ship_id"]
    forgotten = {f"sqlite:///{home}/mlflow.db": {"ship_id": ship_id, "trials": {}}}
    (folder / "ship.json").write_text(json.dumps(forgotten))
    after = runs(home, sync(home, "demo"))
    assert {n: r.info.run_id for n, r in before.items()} == {
        n: r.info.run_id for n, r in after.items()
    }
    assert {n: r.data.metrics for n, r in before.items()} == {
        n: r.data.metrics for n, r in after.items()
    }
    for name in ("0000", "0001", "0002"):
        assert len(history(home, after[name], "val/accuracy")) == 4


def test_a_store_that_was_deleted_is_rebuilt(home: Path, database: Path) -> None:
    sweep_folders.make_sweep(home)
    sync(home, "demo")
    shutil.copy(database, home / "mlflow.db")
    found = runs(home, sync(home, "demo"))
    assert set(found) == {"00-summary", "0000", "0001", "0002"}
    assert len(history(home, found["0002"], "val/accuracy")) == 4


def test_a_sweep_that_takes_up_a_name_anew_is_not_mixed_with_the_old_one(home: Path) -> None:
    folder = sweep_folders.make_sweep(home)
    first = sync(home, "demo")
    shutil.rmtree(folder)
    sweep_folders.make_sweep(home, trials=1)
    second = sync(home, "demo")
    assert open_client(home).get_experiment(second).name == "demo-2"
    assert set(runs(home, second)) == {"00-summary", "0000"}
    assert len(runs(home, first)) == 4


def test_an_experiment_that_was_deleted_in_mlflow_comes_back(home: Path) -> None:
    sweep_folders.make_sweep(home)
    experiment = sync(home, "demo")
    open_client(home).delete_experiment(experiment)
    assert sync(home, "demo") == experiment
    assert open_client(home).get_experiment(experiment).lifecycle_stage == "active"


@pytest.mark.parametrize("name", ["0001", "00-summary"])
def test_a_run_that_was_removed_for_good_is_made_anew(home: Path, name: str) -> None:
    folder = sweep_folders.make_sweep(home)
    before = runs(home, sync(home, "demo"))
    open_client(home)._tracking_client.store._hard_delete_run(before[name].info.run_id)
    sweep_folders.add_epoch(folder, 1, 5)
    sweep_folders.start_trial(folder, 3)
    sweep_folders.end_trial(folder, 3)
    after = runs(home, sync(home, "demo"))
    assert set(after) == {*before, "0003"}
    assert len(history(home, after["0001"], "val/accuracy")) == 5
    assert after["0000"].info.run_id == before["0000"].info.run_id


def test_a_damaged_file_costs_its_trial_only(home: Path) -> None:
    folder = sweep_folders.make_sweep(home)
    (folder / "trials" / "0001" / "spec.json").write_text("{")
    found = runs(home, sync(home, "demo"))
    assert set(found) == {"00-summary", "0000", "0002"}
    assert "trial 1" in (folder / "ship.json").read_text()


def test_states_are_followed_as_they_change(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=0)
    sweep_folders.drive(folder)
    sweep_folders.start_trial(folder, 0)
    sweep_folders.add_epoch(folder, 0, 1)
    shipper = Shipper(home, "demo")

    def look() -> tuple[str, str, int]:
        run = runs(home, shipper.ship())["0000"]
        return run.info.status, run.data.tags["state"], len(history(home, run, "val/accuracy"))

    assert look() == ("RUNNING", "running", 1)
    (folder / "lock.json").unlink()  # the driver was killed
    assert look() == ("KILLED", "interrupted", 1)
    sweep_folders.drive(folder)
    sweep_folders.start_trial_again(folder, 0)
    sweep_folders.add_epoch(folder, 0, 2)
    assert look() == ("RUNNING", "running", 2)
    sweep_folders.end_trial(folder, 0, epochs=2, state=TrialState.PRUNED)
    assert look() == ("FINISHED", "pruned", 2)
    sweep_folders.end_trial(folder, 0, epochs=2, state=TrialState.RUNNING)  # to be trained further
    sweep_folders.add_epoch(folder, 0, 3)
    assert look() == ("RUNNING", "running", 3)
    (folder / "lock.json").unlink()
    assert look() == ("KILLED", "interrupted", 3)
    sweep_folders.end_trial(folder, 0, epochs=3)
    assert look() == ("FINISHED", "completed", 3)


def test_infinite_values_become_tags_and_nan_stays(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=0)
    sweep_folders.start_trial(folder, 0)
    sweep_folders.add_epoch(folder, 0, 1, **{"val/loss": math.inf, "lr": math.nan})
    run = runs(home, sync(home, "demo"))["0000"]
    assert "val/loss" not in run.data.metrics
    assert math.isnan(run.data.metrics["lr"])
    assert run.data.tags["infinite.val/loss"] == "inf at epoch 1"


def test_a_refusal_is_told_and_holds_up_no_other_trial(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=2)
    sweep_folders.add_epoch(folder, 0, 5, **{"no;such:name\n": 1.0})
    shipper = Shipper(home, "demo")
    found = runs(home, shipper.ship())
    assert len(history(home, found["0001"], "val/accuracy")) == 4
    assert "trial 0" in (folder / "ship.json").read_text()


def test_long_curves_go_in_calls_of_a_thousand_points(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sweep_folders.make_sweep(home, trials=1, epochs=700)
    monkeypatch.setattr(sender_module, "_logger", None)  # nothing may be refused
    run = runs(home, sync(home, "demo"))["0000"]
    assert [step for step, _ in history(home, run, "val/accuracy")] == list(range(1, 701))
    assert lag(home, "demo").lines == 0
    assert folder.is_dir()


def test_lag_counts_what_is_not_shipped(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=2)
    assert lag(home, "demo").lines == 8
    sync(home, "demo")
    assert (lag(home, "demo").lines, lag(home, "demo").seconds) == (0, 0.0)
    sweep_folders.add_epoch(folder, 1, 5)
    behind = lag(home, "demo")
    assert behind.lines == 1
    assert behind.seconds > 0


def test_two_shippers_do_not_work_at_once(home: Path) -> None:
    sweep_folders.drive(sweep_folders.make_sweep(home, trials=1))
    with Shipper(home, "demo").lock, pytest.raises(ShipperBusy, match="at work on sweep 'demo'"):
        sync(home, "demo")


def test_a_sync_waits_for_the_shipper_of_a_sweep_that_is_over(home: Path) -> None:
    sweep_folders.make_sweep(home, trials=1)
    lock = FileLock(Shipper(home, "demo").lock.lock_file, thread_local=False)
    lock.acquire()
    ends = threading.Timer(BUSY_S + 1.0, lock.release)
    ends.start()
    sync(home, "demo")
    ends.join()
    assert lag(home, "demo").lines == 0


def test_the_process_follows_a_sweep_and_ends_with_it(home: Path) -> None:
    folder = sweep_folders.make_sweep(home, trials=1)
    sweep_folders.drive(folder)
    process = start_shipper(home, "demo")
    sweep_folders.start_trial(folder, 1)
    for epoch in range(1, 4):
        sweep_folders.add_epoch(folder, 1, epoch)
    sweep_folders.end_trial(folder, 1, epochs=3)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)  # the driver still lives
    (folder / "lock.json").unlink()
    assert process.wait(timeout=120) == 0, (folder / "shipper.log").read_text()
    experiment = open_client(home).get_experiment_by_name("demo").experiment_id
    assert len(history(home, runs(home, experiment)["0001"], "val/accuracy")) == 3


def test_asking_for_the_lag_does_not_load_mlflow(home: Path) -> None:
    sweep_folders.make_sweep(home, trials=1)
    code = "import sys; from dashboards.shipper import lag; from pathlib import Path\n"
    code += f"lag(Path({str(home)!r}), 'demo'); assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
