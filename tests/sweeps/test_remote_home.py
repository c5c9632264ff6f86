"""A home on S3, held against a real S3 server on this machine: what a lost machine leaves behind
is enough for the next one, and an attempt that was thought dead writes nothing any more."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from data_prep.remote import Mirror, file_system, mirror_of
from s4core.train.report import MEASURED, EpochReport
from sweeps import LeaseLost, Study, StudyError, SweepLock, TrialSpec, home, load_spec, remote_home
from sweeps.trial import run_trial

SWEEP = """\
name: far
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 4, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 2}
"""
counter = itertools.count()


@pytest.fixture
def machine(
    s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Mirror]]:
    """`machine("a")` makes this process a machine with a disk of its own and the same S3 home."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S4SWEEP_HOME": f"s3://lab/home-{next(counter)}",
    }.items():
        monkeypatch.setenv(name, value)
    file_system.cache_clear()
    options = {"endpoint_override": s3_server, "region": "us-east-1"}
    fs.S3FileSystem(allow_bucket_creation=True, **options).create_dir("lab")

    def become(name: str) -> Mirror:
        monkeypatch.setenv("S4SWEEP_MIRROR", str(tmp_path / name))
        there = remote_home.mirror()
        assert there is not None
        assert home() == there.local
        return there

    yield become
    file_system.cache_clear()


def trained(trial: TrialSpec, folder: Path, home: Path) -> Generator[EpochReport, None, None]:
    """What a trial of its own reports, wherever the home is."""
    with contextlib.closing(remote_home.run_anywhere([trial], [folder], home=home)) as stream:
        for ((_, report),) in stream:
            assert isinstance(report, EpochReport)
            yield report


@pytest.fixture
def trial(tmp_path: Path) -> TrialSpec:
    """A trial of SWEEP."""
    path = tmp_path / "far.yaml"
    path.write_text(SWEEP)
    spec = load_spec(path)
    train = {"epochs": 4, "batch_size": 16, "lr": 0.01}
    return TrialSpec(
        sweep="far",
        number=0,
        data=spec.data,
        model=spec.model,
        train=train,
        objective=spec.objective,
        seed=1,
    )


def folder(mirror: Mirror) -> Path:
    return mirror.local / "sweeps" / "far" / "trials" / "0000"


def test_what_one_machine_sends_another_has(machine: Callable[[str], Mirror]) -> None:
    a = machine("a")
    (a.local / "sweeps").mkdir(parents=True)
    (a.local / "sweeps" / "x").write_text("one")
    assert a.push(["sweeps/x"]) == ["sweeps/x"]
    assert a.push(["sweeps/x"]) == [], "it is there"
    b = machine("b")
    assert b.pull(b.objects("sweeps")) == ["sweeps/x"]
    assert (b.local / "sweeps" / "x").read_text() == "one"
    assert b.pull(b.objects("sweeps")) == [], "it is here"
    (b.local / "sweeps" / "x").write_text("other")
    assert b.push(["sweeps/x"]) == ["sweeps/x"]
    assert a.pull(a.objects("sweeps")) == ["sweeps/x"]
    b.delete("sweeps/x")
    b.delete("sweeps/x")
    assert a.objects() == {}
    assert a.read("sweeps/x") is None


def test_a_store_that_is_away_is_an_outage_that_can_be_waited_for(
    machine: Callable[[str], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.outages import PASSING

    mirror = machine("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    file_system.cache_clear()
    with pytest.raises(OSError, match="s3://lab/home") as error:
        mirror.read("x")
    assert error.value.errno in PASSING


@pytest.mark.parametrize("url", ["s3://", "s3://a b/c", "s3://key:secret@bucket/x", "http://x/y"])
def test_a_url_that_is_no_home_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a home is s3://bucket/path"):
        mirror_of(url)
    monkeypatch.setenv("S4SWEEP_HOME", url)
    with pytest.raises(StudyError):
        home()


def test_a_trial_goes_on_on_another_machine_from_its_last_epoch(
    machine: Callable[[str], Mirror], trial: TrialSpec, tmp_path: Path
) -> None:
    a = machine("a")
    stream = trained(trial, folder(a), a.local)
    begun = [next(stream), next(stream)]
    stream.close()
    data = json.loads(next((a.local / "data").rglob("manifest.json")).read_text())
    shutil.rmtree(a.local)  # the machine is lost with its disk

    b = machine("b")
    # The driver's paths are those of its own machine.
    reports = list(trained(trial, folder(a), a.local))
    brought = json.loads(next((b.local / "data").rglob("manifest.json")).read_text())
    assert brought["created"] == data["created"], "the data were brought, not built again"

    plain = list(run_trial(trial, tmp_path / "plain", home=tmp_path / "plain-home"))
    curve = [{k: v for k, v in r.metrics.items() if k not in MEASURED} for r in plain]
    for found in (begun, reports):
        told = [{k: v for k, v in r.metrics.items() if k not in MEASURED} for r in found]
        assert told == curve[: len(told)]
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    lines = (b.read("sweeps/far/trials/0000/metrics.jsonl") or b"").decode().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_state_is_in_the_store_before_its_report_goes_out(
    machine: Callable[[str], Mirror], trial: TrialSpec
) -> None:
    a = machine("a")
    for report in trained(trial, folder(a), a.local):
        lines = (a.read("sweeps/far/trials/0000/metrics.jsonl") or b"").splitlines()
        assert len(lines) == report.epoch
        stored = a.look("sweeps/far/trials/0000/last.pt")
        assert stored is not None
        assert stored.size == (folder(a) / "last.pt").stat().st_size


def test_an_attempt_that_was_thought_dead_sends_nothing_more(
    machine: Callable[[str], Mirror], trial: TrialSpec
) -> None:
    a = machine("a")
    zombie = trained(trial, folder(a), a.local)
    next(zombie)
    b = machine("b")
    successor = trained(trial, folder(b), b.local)
    assert next(successor).epoch == 1
    machine("a")
    with pytest.raises(LeaseLost):
        next(zombie)
    lines = (b.read("sweeps/far/trials/0000/metrics.jsonl") or b"").splitlines()
    assert len(lines) == 1
    machine("b")
    assert [r.epoch for r in successor] == [2, 3, 4]


def test_the_driver_sends_its_study_and_brings_what_workers_report(
    machine: Callable[[str], Mirror], tmp_path: Path
) -> None:
    path = tmp_path / "far.yaml"
    path.write_text(SWEEP)
    a = machine("a")
    study = Study.create(load_spec(path), a.local)
    with remote_home.kept(study.folder), SweepLock(study.folder):
        study.recover()
        asked = study.ask()
        assert isinstance(asked, TrialSpec)
        remote_home.exchange(a, "sweeps/far")
        assert a.look("sweeps/far/lock.json") is not None
        assert a.look("sweeps/far/study.journal") is not None

        b = machine("b")
        remote_home.refresh(b)
        [trial] = Study.open("far", b.local).result().trials
        assert trial.number == asked.number
        for _ in trained(asked, folder(a), a.local):
            pass
        a = machine("a")
        remote_home.exchange(a, "sweeps/far")
        assert len((folder(a) / "metrics.jsonl").read_text().splitlines()) == 4
        assert not (folder(a) / "last.pt").exists(), "checkpoints stay where they are"
        b.write("sweeps/far/stop.json", b'{"how": "drain"}')
        remote_home.exchange(a, "sweeps/far")
        assert (study.folder / "stop.json").exists()
        assert a.look("sweeps/far/stop.json") is None
    assert a.look("sweeps/far/lock.json") is None


def test_a_second_driver_elsewhere_is_refused(
    machine: Callable[[str], Mirror], tmp_path: Path
) -> None:
    from sweeps import SweepLocked
    from sweeps.files import read_json, write_json

    path = tmp_path / "far.yaml"
    path.write_text(SWEEP)
    a = machine("a")
    study = Study.create(load_spec(path), a.local)
    with remote_home.kept(study.folder), SweepLock(study.folder):
        lock = study.folder / "lock.json"
        write_json(lock, {**read_json(lock), "host": "another-machine"})
        remote_home.exchange(a, "sweeps/far")
        b = machine("b")
        remote_home.refresh(b)
        with (
            pytest.raises(SweepLocked, match="on another-machine"),
            SweepLock(b.local / "sweeps" / "far"),
        ):
            pass
        machine("a")
        lock.unlink()


def test_what_could_not_be_sent_is_not_overwritten_by_what_is_older(
    machine: Callable[[str], Mirror], tmp_path: Path
) -> None:
    a = machine("a")
    journal = a.local / "sweeps" / "far" / "study.journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}\n")
    a.push(["sweeps/far/study.journal"])
    journal.write_text("{}\n{}\n")
    remote_home.refresh(a)
    assert journal.read_text() == "{}\n{}\n"


def test_a_study_is_steered_where_it_is_driven_or_from_anywhere_when_nobody_drives_it(
    machine: Callable[[str], Mirror], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cluster.cli import main

    (tmp_path / "far.yaml").write_text(SWEEP)
    a = machine("a")
    study = Study.create(load_spec(tmp_path / "far.yaml"), home())
    study.ask()
    held = {"host": "another-machine", "pid": 1, "born": 1.0, "started": 1.0, "token": "x"}
    lock = study.folder / "lock.json"
    lock.write_text(json.dumps({**held, "heartbeat": time.time()}))
    remote_home.exchange(a, "sweeps/far")
    b = machine("b")
    for words in ("pause far", "stop far --trial 0", "extend far --trials +1", "enqueue far lr=1"):
        assert main(words.split()) == 2, words
        said = capsys.readouterr().err
        assert "'far' is driven on another-machine, which has its study: say this with" in said
    lock.unlink()
    remote_home.exchange(a, "sweeps/far")
    assert main(["extend", "far", "--trials", "+1"]) == 0
    assert "lock.json" not in "".join(b.objects("sweeps"))
    remote_home.refresh(machine("c"))
    assert Study.open("far", home()).target == 3


@pytest.mark.slow
def test_a_google_bucket_without_credentials_is_one_clear_line(tmp_path: Path) -> None:
    """The store's client is real; nobody answers its question for a token."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE", "CLOUDSDK"))},
        "HOME": str(tmp_path),
        "GCE_METADATA_HOST": "127.0.0.1:1",
        "S4SWEEP_HOME": "gs://lab/home",
        "S4SWEEP_MIRROR": str(tmp_path / "mirror"),
    }
    command = [sys.executable, "-m", "cluster.cli", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert done.stderr == (
        "s4sweep: gs://lab/home: no Google credentials: run `gcloud auth application-default "
        "login`.\n"
    )


def test_what_the_doctor_puts_right_is_right_for_every_machine(
    machine: Callable[[str], Mirror], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cluster.cli import main

    (tmp_path / "far.yaml").write_text(SWEEP)
    there = machine("a")
    study = Study.create(load_spec(tmp_path / "far.yaml"), home())
    dead = {"host": "gone", "pid": 1, "born": 1.0, "started": 1.0, "heartbeat": 1.0, "token": "x"}
    (study.folder / "lock.json").write_text(json.dumps(dead))
    remote_home.exchange(there, "sweeps/far")
    there.write("sweeps/far/stop.json", b'{"how": "now"}')
    machine("b")
    assert main(["doctor"]) == 1
    assert "locked by process 1 on gone" in capsys.readouterr().out
    assert main(["doctor", "--fix"]) == 0
    for name in ("b", "c"):
        machine(name)
        capsys.readouterr()
        assert main(["doctor"]) == 0
        assert "is in order" in capsys.readouterr().out
