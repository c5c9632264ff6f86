"""The three invariants of a trial, with real training and real kills.

(i) State is on disk before a report is yielded: stopping at a yield loses nothing. (ii) Starting
again is how a trial resumes, and its reports equal those of an undisturbed one. (iii) A trial
depends on nothing but its spec and its folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import s4core
import sweeps
from dashboards.record import TrialRecord
from s4core.train.report import MEASURED, EpochReport
from sweeps.trial import MetricsLog, read_metrics

EPOCHS = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def spec() -> sweeps.TrialSpec:
    return sweeps.TrialSpec(
        sweep="t",
        number=3,
        data={
            "name": "listops", "train": 48, "val": 24, "test": 24,
            "min_length": 3, "max_length": 16, "l_max": 16,
        },
        model={"name": "s4d", "d_model": 8, "n_layers": 1},
        train={"epochs": EPOCHS, "batch_size": 16, "lr": 0.01},
        objective=sweeps.Objective(),
        seed=7,
    )  # fmt: skip


def facts(report: EpochReport) -> tuple[Any, ...]:
    """What of a report must not depend on the machine's mood."""
    kept = {k: v for k, v in report.metrics.items() if k not in MEASURED}
    return (report.epoch, kept, report.best, report.stopped_by)


def curve(spec: sweeps.TrialSpec, folder: Path, home: Path) -> list[tuple[Any, ...]]:
    return [facts(report) for report in sweeps.run_trial(spec, folder, home=home)]


def test_a_trial_stopped_at_any_yield_resumes_with_the_same_reports(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    undisturbed = curve(spec, tmp_path / "whole", home)
    assert [f[0] for f in undisturbed] == list(range(1, EPOCHS + 1))
    for stop_at in (1, 3, EPOCHS):
        folder = tmp_path / f"stopped{stop_at}"
        for report in sweeps.run_trial(spec, folder, home=home):
            if report.epoch == stop_at:
                break
        assert curve(spec, folder, home) == undisturbed
        assert [line["epoch"] for line in read_metrics(folder)] == list(range(1, EPOCHS + 1))


# Imports once, then forks a child for each attempt: importing torch is most of an attempt's time.
NURSERY = """
import json, os, sys
from pathlib import Path
import sweeps
spec = sweeps.TrialSpec.from_json(json.loads(Path(sys.argv[1]).read_text()))
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        print("pid", os.getpid(), flush=True)
        for report in sweeps.run_trial(spec, Path(sys.argv[2]), home=Path(sys.argv[3])):
            print("epoch", report.epoch, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print("gone", pid, flush=True)
"""


def test_a_trial_killed_at_random_moments_ends_with_the_same_record(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    undisturbed = curve(spec, tmp_path / "whole", home)
    spec_file, folder = tmp_path / "given.json", tmp_path / "killed"
    spec_file.write_text(json.dumps(spec.to_json()))
    rng = random.Random(0)
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(spec_file), str(folder), str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as nursery:  # fmt: skip
        assert nursery.stdin is not None and nursery.stdout is not None
        for _ in range(5):
            nursery.stdin.write("go\n")
            pid = int(nursery.stdout.readline().removeprefix("pid "))
            if rng.random() < 0.7:
                nursery.stdout.readline()  # let it say one epoch
            time.sleep(rng.uniform(0, 0.06))  # somewhere in an epoch, its files or its line
            os.kill(pid, signal.SIGKILL)
            while not nursery.stdout.readline().startswith("gone"):
                pass
        nursery.stdin.close()
    assert curve(spec, folder, home) == undisturbed
    lines = read_metrics(folder)
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    assert [facts(EpochReport.from_json(line)) for line in lines] == undisturbed


def test_a_report_whose_line_was_never_written_is_written_by_the_next_attempt(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    whole = curve(spec, tmp_path, home)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:17])  # killed in the middle of a write
    assert curve(spec, tmp_path, home) == whole
    assert [line["epoch"] for line in read_metrics(tmp_path)] == list(range(1, EPOCHS + 1))
    assert path.read_bytes().startswith(b"".join(lines[:2]))  # what was whole was not touched


@pytest.mark.parametrize("cut", [b"", b'{"epoch": 3', b'{"epoch": 2}\n', b"\x00\x00\n", b"null\n"])
def test_the_log_keeps_the_longest_run_of_whole_epochs(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1}\n{"epoch": 2}\n' + cut)
    log = MetricsLog(path)
    assert log.epochs == 2
    log.append(EpochReport(epoch=3, metrics={}))
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_an_attempt_that_lost_its_trial_writes_nothing_more(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    first = sweeps.run_trial(spec, tmp_path, home=home, attempt="first")
    next(first)
    second = sweeps.run_trial(spec, tmp_path, home=home, attempt="second")
    assert next(second).epoch == 1
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(sweeps.LeaseLost, match="taken by attempt second"):
        next(first)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [report.epoch for report in second] == [2, 3, 4, 5, 6]
    assert [line["epoch"] for line in read_metrics(tmp_path)] == list(range(1, EPOCHS + 1))
    attempts = [json.loads(x) for x in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert [a["attempt"] for a in attempts] == ["first", "second"]


def test_a_torn_line_of_an_attempt_spoils_no_other(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "attempts.jsonl").write_text('{"time": 1')
    next(sweeps.run_trial(spec, tmp_path, home=home, attempt="second"))
    (attempt,) = TrialRecord(tmp_path).attempts()
    assert attempt["attempt"] == "second"


def test_the_folder_says_what_ran_even_if_it_fails_at_once(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    wrong = sweeps.TrialSpec.from_json({**spec.to_json(), "model": {"name": "s4d", "d_model": -1}})
    with pytest.raises(s4core.ConfigError):
        next(sweeps.run_trial(wrong, tmp_path, home=home))
    assert json.loads((tmp_path / "spec.json").read_text())["model"]["d_model"] == -1


def test_other_ranks_of_one_trial_write_nothing(
    spec: sweeps.TrialSpec, home: Path, tmp_path: Path
) -> None:
    gen = sweeps.run_trial(spec, tmp_path / "x", home=home, rank=1)
    next(gen)
    written = {p.name for p in (tmp_path / "x").iterdir()}
    assert not written & {"lease.json", "spec.json", "metrics.jsonl", "attempts.jsonl"}
