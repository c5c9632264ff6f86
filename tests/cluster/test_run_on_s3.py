"""A whole sweep whose home is on S3: run on one machine, looked at and continued on another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import fs

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SWEEP = """\
name: far
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 2, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 2}
resources: {concurrent: 2}
"""


def test_the_doctor_probes_the_store_not_the_mirror(
    s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import probe
    from data_prep.remote import file_system

    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3_server,
        "S4SWEEP_HOME": "s3://lab/probed",
    }.items():
        monkeypatch.setenv(name, value)
    file_system.cache_clear()
    options = {"endpoint_override": s3_server, "region": "us-east-1", "allow_bucket_creation": True}
    fs.S3FileSystem(**options).create_dir("lab")
    machines = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("S4SWEEP_MIRROR", str(machines[0]))
    probe.write(machines[0], "driver", "nonce")
    monkeypatch.setenv("S4SWEEP_MIRROR", str(machines[1]))
    found = probe.storage(machines[1], nonce="nonce", node="n1")
    assert (found["seen"], found["error"]) == (True, "")
    assert found["write_ms"] > 0
    assert probe.read(machines[0], "n1") == "nonce"
    probe.clear(machines[0])
    assert probe.read(machines[1], "driver") is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    file_system.cache_clear()
    assert "s3://lab/probed" in probe.storage(machines[1], nonce="nonce", node="n1")["error"]
    file_system.cache_clear()


def test_a_sweep_on_s3_outlives_its_machine(s3_server: str, tmp_path: Path) -> None:
    path = tmp_path / "far.yaml"
    path.write_text(SWEEP)
    common = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S4SWEEP_HOME": "s3://lab/home",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
    }
    store = fs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        endpoint_override=s3_server,
        region="us-east-1",
        allow_bucket_creation=True,
    )
    store.create_dir("lab")

    def s4sweep(machine: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cluster.cli", *words],
            env={**common, "S4SWEEP_MIRROR": str(tmp_path / machine)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    s4sweep("a", "run", str(path), "--no-tracking")
    stored = store.get_file_info(fs.FileSelector("lab/home", recursive=True))
    names = {info.path.removeprefix("lab/home/") for info in stored}
    trial = "sweeps/far/trials/0000"
    assert {f"{trial}/{n}" for n in ("last.pt", "best.pt", "metrics.jsonl", "result.json")} <= names
    assert {"sweeps/far/study.journal", "sweeps/far/spec.json"} <= names
    assert "sweeps/far/lock.json" not in names
    assert [n for n in names if n.startswith("data/listops/") and n.endswith("manifest.json")]

    [sweep] = json.loads(s4sweep("b", "list", "--json"))
    assert (sweep["name"], sweep["done"]) == ("far", 2)
    s4sweep("b", "resume", "far", "--best", "--epochs", "+1", "--no-tracking")
    best = json.loads(s4sweep("c", "status", "far", "--json"))
    lines = {
        number: store.open_input_stream(f"lab/home/sweeps/far/trials/{number}/metrics.jsonl")
        .read()
        .decode()
        .splitlines()
        for number in ("0000", "0001")
    }
    assert sorted(len(found) for found in lines.values()) == [2, 3]
    assert best["done"] == 2
