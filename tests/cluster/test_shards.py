from __future__ import annotations

import os
import subprocess
import sys

import pytest

from data_prep import prepare
from data_prep.inventory import cached

pytestmark = pytest.mark.ray

FEW = {"train": 2500, "val": 20, "test": 20, "min_length": 5, "max_length": 40}


def test_shards_made_by_ray_tasks_are_the_same_bit_for_bit(tmp_path):
    ray = pytest.importorskip("ray")
    from cluster.shards import ray_map

    here = prepare("listops", FEW, home=tmp_path / "here")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there = prepare("listops", FEW, home=tmp_path / "there", map=ray_map)
        # As a user does it: another process joins the cluster that is there.
        words = ["data", "prepare", "listops", *(f"{key}={value}" for key, value in FEW.items())]
        address = ray.get_runtime_context().gcs_address
        said = subprocess.run(
            [sys.executable, "-m", "cluster.cli", *words, "--ray", address],
            env={**os.environ, "S4SWEEP_HOME": str(tmp_path / "user")},
            capture_output=True,
            text=True,
        )
    finally:
        ray.shutdown()
    assert here.manifest["files"] == there.manifest["files"]
    assert here.fingerprint == there.fingerprint
    assert said.returncode == 0, said.stderr
    (user,) = cached(tmp_path / "user")
    assert user.entry is not None and user.entry.manifest["files"] == here.manifest["files"]
