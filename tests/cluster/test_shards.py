from __future__ import annotations

import pytest

from data_prep import prepare

pytestmark = pytest.mark.ray

FEW = {"train": 2500, "val": 20, "test": 20, "min_length": 5, "max_length": 40}


def test_shards_made_by_ray_tasks_are_the_same_bit_for_bit(tmp_path):
    ray = pytest.importorskip("ray")
    from cluster.shards import ray_map

    here = prepare("listops", FEW, home=tmp_path / "here")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there = prepare("listops", FEW, home=tmp_path / "there", map=ray_map)
    finally:
        ray.shutdown()
    assert here.manifest["files"] == there.manifest["files"]
    assert here.fingerprint == there.fingerprint
