"""What a dry run finds without a cluster: mistakes in the file, then data, models and cost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cluster import preflight
from cluster.cli import main
from sweeps import load_spec, run_inline
from sweeps.plural import plural

SWEEP = """\
name: dry
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: {choice: [8, 16]}, n_layers: 1}
train: {epochs: 2, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 1}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("S4SWEEP_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "dry.yaml"
    path.write_text(SWEEP)
    return path


def dry_run(sweep: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    status = main(["submit", str(sweep), "--dry-run", "--json"])
    return status, {
        f["where"]: f"{f['level']} {f['what']}" for f in json.loads(capsys.readouterr().out)
    }


def test_a_good_sweep_is_described(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = dry_run(sweep, capsys)
    assert status == 0
    assert found["space"] == "ok a continuous space, 1 trial of random"
    assert found["data listops"].startswith("ok train 48, val 24, test 24 rows of length 16 (")
    assert found["models"].startswith("ok 2 built, ")
    assert "no earlier run of these models" in found["cost"]
    assert found["cluster"] == "warn none given, so none was checked"


def test_hours_come_from_earlier_sweeps_of_this_home(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_inline(load_spec(sweep), tmp_path / "home")
    _, found = dry_run(sweep, capsys)
    assert "trial hours, by 2 earlier epochs" in found["cost"]


def test_too_little_memory_is_a_failure_before_the_first_trial(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(f"{SWEEP}resources: {{memory_gb: 0.1}}\n")
    status, found = dry_run(sweep, capsys)
    assert status == 1
    assert found["models"].startswith("fail 2 built")


def test_data_that_cannot_be_had_is_a_failure(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listops = SWEEP.splitlines()[1]
    sweep.write_text(SWEEP.replace(listops, "data: {name: sc10}"))
    status, found = dry_run(sweep, capsys)
    assert status == 1
    assert found["data sc10"].startswith("fail sc35: speech_commands_v0.02.tar.gz")
    assert "models" not in found


def test_all_mistakes_of_the_file_are_shown_at_once_with_line_and_column(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(SWEEP.replace("n_layers", "n_layer").replace("epochs: 2", "epochs: two"))
    assert main(["submit", str(sweep), "--dry-run"]) == 2
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{sweep}:3:48: model.n_layer: unknown key 'n_layer'")
    assert second.startswith(f"{sweep}:4:9: train.epochs: wants a whole number")
    assert last == f"2 mistakes in {sweep}."


def test_a_model_that_cannot_be_built_is_shown_with_its_settings(tmp_path: Path) -> None:
    """A rule that only building finds: the space itself was accepted."""
    path = tmp_path / "dry.yaml"
    path.write_text(SWEEP)
    spec = load_spec(path)
    broken = [{"data": spec.data, "model": {"name": "s4d", "d_state": 3}, "train": {}}]
    dataset = preflight._data(spec.data, tmp_path / "home")[1]
    assert dataset is not None
    [finding] = preflight._models(spec, broken, {preflight._key(spec.data): dataset})
    assert finding.level == "fail"
    assert finding.what.startswith("name=s4d d_state=3: ")


def test_a_plan_says_whether_this_machine_can_hold_a_trial(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(sweep), "--plan", "--no-probe"]) == 0
    cpus = len(os.sched_getaffinity(0))
    said = capsys.readouterr().out
    has = f"{plural(cpus, 'CPU')} and 0 GPUs have room for {plural(cpus, 'trial')} at a time"
    assert f"  this machine: {has}" in said
    assert "each needs 1 CPU\n" in said
    sweep.write_text(f"{SWEEP}resources: {{cpus: 1024, custom: {{tpu: 2}}}}\n")
    assert main(["check", str(sweep), "--plan", "--no-probe"]) == 0, "it may be meant for another"
    said = capsys.readouterr().out
    assert f"no node can hold a trial: it asks for resources.cpus: 1024 (a node has {cpus})" in said
    assert "resources.custom.tpu: 2 (a node has 0)" in said
    assert "each needs 1024 CPUs\n" in said
