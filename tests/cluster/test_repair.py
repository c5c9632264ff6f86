"""Each thing that a dead process can leave is found, put right once, and gone at the next look."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sweeps
from cluster import repair
from cluster.cli import main
from sweeps import Study, SweepLock, TrialSpec, TrialState

SWEEP = """\
name: old
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 1, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 2}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one sweep of two trials, which is over and in MLflow."""
    home = tmp_path_factory.mktemp("home")
    path = home / "old.yaml"
    path.write_text(SWEEP)
    sweeps.run_inline(sweeps.load_spec(path), home)
    uri = f"sqlite:///{home / 'mlflow.db'}"
    (home / "tracking-uri").write_text(uri)
    words = ["--home", str(home), "--sweep", "old", "--tracking-uri", uri]
    subprocess.run([sys.executable, "-m", "dashboards.shipper", *words], check=True)
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "home"))


def uri(home: Path) -> str:
    """The MLflow that knows the sweep; a copy of the home has it beside itself."""
    return (home / "tracking-uri").read_text()


def faults(home: Path, **how: bool) -> list[str]:
    return [fault.what for fault in repair.look(home, uri=uri(home), **how)]


def fix(home: Path, **how: bool) -> list[str]:
    found = repair.look(home, uri=uri(home), **how)
    return [fault.act() for fault in found if fault.act is not None]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def lock_of_the_dead(home: Path) -> None:
    about = {"host": platform.node(), "pid": dead_pid(), "born": 1.0, "started": 1.0}
    text = json.dumps({**about, "heartbeat": time.time(), "token": "x"})
    (home / "sweeps" / "old" / "lock.json").write_text(text)


def age(path: Path) -> None:
    os.utime(path, (time.time() - 7200,) * 2)


def test_a_home_in_order_has_no_faults(home: Path) -> None:
    assert faults(home, deep=True) == []


def test_the_lock_of_a_dead_driver_is_removed(home: Path) -> None:
    lock_of_the_dead(home)
    [what] = faults(home)
    assert "which is gone" in what
    assert fix(home) == ["removed the lock"]
    assert faults(home) == []


def test_a_living_driver_is_left_alone_with_all_its_files(home: Path) -> None:
    folder = home / "sweeps" / "old"
    half = folder / "trials" / "0000" / "last.pt.1.tmp"
    half.touch()
    age(half)
    with SweepLock(folder):
        assert faults(home) == []
    assert len(faults(home)) == 1


@pytest.mark.parametrize(
    "name", ["study.journal.lock", "stop.json", "trials/0001/last.pt.77.tmp", ".spec.json.ab.tmp"]
)
def test_files_of_the_dead_are_removed_when_they_are_old(home: Path, name: str) -> None:
    path = home / "sweeps" / "old" / name
    path.touch()
    if name != "stop.json":
        assert faults(home) == [], "it may be in use"
    age(path)
    assert fix(home) == [f"removed {path.name}"]
    assert not path.exists()


def test_a_trial_that_nobody_runs_is_told_and_closed_only_when_asked(home: Path) -> None:
    study = Study.open("old", home)
    with SweepLock(study.folder):
        study.recover()
        study.extend(1)
        assert isinstance(study.ask(), TrialSpec)
    lock_of_the_dead(home)
    assert [f for f in fix(home) if "closed" in f] == []
    assert any("`s4sweep resume old` goes on with them" in what for what in faults(home))
    assert fix(home, close=True) == ["closed trial 2 as failed"]
    [trial] = [t for t in Study.open("old", home).result().trials if t.number == 2]
    assert trial.state is TrialState.FAILED
    assert trial.error is not None
    assert trial.error.startswith("closed by s4sweep doctor: its driver is gone")
    assert json.loads((home / "sweeps/old/trials/0002/result.json").read_text())["error"]


def test_a_damaged_checkpoint_is_set_aside(home: Path) -> None:
    path = home / "sweeps" / "old" / "trials" / "0000" / "best.pt"
    path.write_bytes(path.read_bytes()[:-100])
    assert faults(home) == []
    [what] = faults(home, deep=True)
    assert what.startswith("trials/0000/best.pt is damaged")
    assert fix(home, deep=True) == ["moved it to best.pt.bad"]
    assert faults(home, deep=True) == []


def test_half_built_caches_are_removed_unless_somebody_builds(home: Path) -> None:
    from filelock import FileLock

    folder = home / "data" / "listops"
    [entry] = [p for p in folder.iterdir() if p.is_dir()]
    half = folder / f"{entry.name}.tmp-{platform.node()}-1-ab"
    half.mkdir()
    (half / "train.arrow").write_bytes(b"x" * 1_000_000)
    with FileLock(folder / f"{entry.name}.lock"):
        assert faults(home) == []
    assert fix(home) == ["removed 1.0 MB"]
    assert faults(home) == []
    assert entry.exists()


def test_epochs_that_mlflow_lacks_are_sent(home: Path) -> None:
    """The note of what was sent is lost, so everything is sent again; MLflow takes it once."""
    for path in home.glob("sweeps/old/ship*"):
        path.unlink()
    assert faults(home) == ["2 epochs that MLflow has not got"]
    [done] = fix(home)
    assert done.startswith("sent them to experiment ")
    assert faults(home) == []


def test_the_command_tells_then_fixes_then_is_content(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_of_the_dead(home)
    words = ["doctor", "--home", str(home), "--tracking-uri", uri(home)]
    assert main(words) == 1
    assert (
        f"1 fault; `s4sweep doctor --fix --home {home}` puts them right." in capsys.readouterr().out
    )
    assert main([*words, "--fix"]) == 0
    assert "removed the lock" in capsys.readouterr().out
    for again in (words, [*words, "--fix"]):
        assert main(again) == 0
        assert capsys.readouterr().out == f"{home} is in order.\n"


def test_a_sweep_without_its_journal_is_told_and_the_others_are_looked_at(home):
    shutil.copytree(home / "sweeps" / "old", home / "sweeps" / "a-torn-one")
    (home / "sweeps" / "a-torn-one" / "study.journal").unlink()
    (home / "sweeps" / "old" / "stop.json").write_text("{}")
    said = faults(home)
    assert any("study.journal" in line for line in said), said
    assert "a request to stop that nobody read" in said
