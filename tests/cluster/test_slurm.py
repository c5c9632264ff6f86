"""The rendered Slurm script, run from its first line to its last on this machine.

`srun` and `scontrol` are played by four-line shell scripts (run the command here; note a requeue);
Ray, the driver and the sweep are real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster import auth
from cluster.render import render
from sweeps import Study, TrialState

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [[ "$1" == show ]]; then echo localhost; else echo "$@" >> "$NOTES"; fi
"""
HOSTNAME = """#!/bin/bash
echo 127.0.0.1
"""
SWEEP = """\
name: queued
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 150, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 2}
"""


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment that Slurm would give the script, with our tools on its path."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("hostname", HOSTNAME)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "queued.yaml").write_text(SWEEP)
    auth.ensure_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    return {
        **{k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")},
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_CPUS_PER_TASK": "1",
    }


def start(tmp_path: Path, job: dict[str, str]) -> subprocess.Popen[bytes]:
    settings = {"sweep": "queued.yaml", "home": str(tmp_path / "home"), "cpu_workers": 1}
    script = tmp_path / "sweep.sbatch"
    script.write_text(render("slurm", settings))
    with (tmp_path / "log").open("ab") as log:
        command = ["bash", str(script)]
        return subprocess.Popen(command, cwd=tmp_path, env=job, stdout=log, stderr=log)


def test_a_job_that_runs_out_of_time_is_queued_again_and_goes_on(
    tmp_path: Path, job: dict[str, str]
) -> None:
    metrics = tmp_path / "home/sweeps/queued/trials/0000/metrics.jsonl"
    first = start(tmp_path, job)
    deadline = time.monotonic() + 240
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:
        assert first.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.1)
    first.send_signal(signal.SIGUSR1)  # what `--signal=B:USR1@180` sends
    assert first.wait(timeout=240) == 0
    assert (tmp_path / "notes").read_text() == f"requeue {job['SLURM_JOB_ID']}\n"
    before = len(metrics.read_text().splitlines())
    assert 2 <= before < 150

    second = start(tmp_path, job)
    assert second.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    result = Study.open("queued", tmp_path / "home").result()
    assert [t.state for t in result.trials] == [TrialState.COMPLETED] * 2
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 151))
    assert (tmp_path / "notes").read_text().count("requeue") == 1
    scratch = f"/tmp/s4ray-{job['SLURM_JOB_ID']}"
    assert not [p for p in psutil.process_iter(["cmdline"]) if scratch in str(p.info["cmdline"])]


def test_without_a_token_the_job_says_so_at_once(tmp_path: Path, job: dict[str, str]) -> None:
    (tmp_path / "token").unlink()
    assert start(tmp_path, job).wait(timeout=60) == 2
    assert "run 's4sweep cluster token' once" in (tmp_path / "log").read_text()
