"""Nodes that die, hang, join and all vanish, and a GCS that is killed, in mid-sweep.

A real Ray cluster of several raylets on this machine: a head without CPUs and three nodes of one.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import Driver, epochs_on_disk, mid_sweep, resume, start, training_pids
from engine_contract import check_record, tiny

from cluster import nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# A hung node is declared dead after some 6 s instead of a minute, and without its GCS a raylet
# gives up after 10 s.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[nodes.LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        for key, value in QUICK.items():
            patch.setenv(key, value)
        cluster = nodes.up(str(tmp_path), workers=3, cpus=1, name="faults")
        try:
            yield cluster
        finally:
            nodes.down(nodes.load("faults") or cluster)


def sweep(home: Path, trials: int) -> None:
    """Write a sweep of trials of eight epochs of about a second."""
    model = {"name": "lab.faulty", "delay_s": 0.25}
    search = {"trials": trials}
    tiny(home, model=model, train={"epochs": 8}, search=search, resources={"concurrent": 3})


def busy_node(cluster: nodes.LocalCluster, home: Path) -> nodes.Node:
    """A node that trains a trial now: one with a process of a trial that has not ended."""
    training = set(training_pids(home))
    for node in cluster.nodes:
        if training & {process.pid for process in node.alive()}:
            return node
    raise LookupError(f"no node trains: {training}")


def end(node: nodes.Node) -> None:
    """SIGKILL everything that runs on a node, as when its power goes; returns when it is gone."""
    while running := list(node.alive()):
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.1)


def all_train(events: list[dict[str, object]]) -> bool:
    """Three trials have an epoch each."""
    return len({e["number"] for e in events if e["event"] == "epoch"}) >= 3


def lost(driver: Driver) -> int:
    """How many losses the driver spoke of."""
    notes = [e["text"] for e in driver.events if e["event"] == "note"]
    return sum("lost its worker" in note for note in notes)


def test_a_node_dies_and_another_joins(cluster: nodes.LocalCluster, tmp_path: Path) -> None:
    sweep(tmp_path, trials=6)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(all_train)
        end(busy_node(cluster, tmp_path))
        cluster.add_node("late", cpus=1)
        assert driver.wait() == 0
        assert lost(driver) == 1
    check_record(tmp_path, "tiny", trials=6)


def test_a_hung_node_comes_back_as_a_zombie_and_writes_nothing(
    cluster: nodes.LocalCluster, tmp_path: Path
) -> None:
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(all_train)
        frozen = list(busy_node(cluster, tmp_path).alive())
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        driver.until(lambda events: lost(driver) == 1)
        driver.until(lambda events: events[-1]["event"] == "started")
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        assert driver.wait() == 0
    check_record(tmp_path, "tiny", trials=4)


def test_all_nodes_die_and_come_back(cluster: nodes.LocalCluster, tmp_path: Path) -> None:
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(all_train)
        for node in cluster.nodes:
            if node.name != "head":
                end(node)
        time.sleep(5.0)
        there = epochs_on_disk(tmp_path)
        cluster.add_node("again1", cpus=2)
        assert driver.wait() == 0
        assert lost(driver) == 3
    assert all(epochs >= there.get(n, 0) for n, epochs in epochs_on_disk(tmp_path).items())
    check_record(tmp_path, "tiny", trials=4)


def test_the_gcs_is_killed_and_resume_goes_on_with_another_cluster(
    cluster: nodes.LocalCluster, tmp_path: Path
) -> None:
    """Without fault-tolerant storage the cluster is lost; the sweep is not."""
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(mid_sweep)
        cluster.node("head").find("gcs_server").kill()
        assert driver.wait() != 0
        finished = set(driver.numbers("ended"))
    nodes.down(cluster)
    with resume(tmp_path) as again:
        assert again.wait() == 0
        assert not finished & set(again.numbers("started"))
    check_record(tmp_path, "tiny", trials=4)
    assert json.loads((tmp_path / "sweeps/tiny/spec.json").read_text())["name"] == "tiny"
