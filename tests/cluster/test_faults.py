"""Nodes that die, hang, join and all vanish, and a GCS that is killed, in mid-sweep.

A real Ray cluster of several raylets on this machine: a head without CPUs and three nodes of one.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import (
    epochs_on_disk,
    mid_sweep,
    start,
    training_pids,
    wait_for_shipper,
)
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.LocalCluster]:
    """One cluster for the module: a start costs ten seconds and more."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        for key, value in QUICK.items():
            patch.setenv(key, value)
        cluster = nodes.up(str(folder), workers=3, cpus=1, name="faults")
        try:
            yield cluster
        finally:
            nodes.down(nodes.load("faults") or cluster)


@pytest.fixture
def cluster(shared: nodes.LocalCluster) -> nodes.LocalCluster:
    """The cluster, with a new node for each that the test before has ended."""
    current = nodes.load("faults") or shared
    lacking = 3 - sum(any(node.alive()) for node in current.nodes if node.name != "head")
    for _ in range(lacking):
        current = current.add_node(f"spare{len(current.nodes)}", cpus=1)
    return current


def sweep(home: Path, trials: int, epochs: int = 8) -> None:
    """Write a sweep of trials of epochs of about a second, of which none may fail."""
    model = {"name": "lab.faulty", "delay_s": 0.25}
    search = {"trials": trials, "max_failures": 0}
    tiny(home, model=model, train={"epochs": epochs}, search=search, resources={"concurrent": 3})


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


def test_a_node_dies_and_another_joins(
    cluster: nodes.LocalCluster, tmp_path: Path, database: Path
) -> None:
    """The sweep is tracked, so that MLflow's record can be compared with the files."""
    shutil.copy(database, tmp_path)
    sweep(tmp_path, trials=6)
    options = ("--json", "--no-test")
    with start(tmp_path, "--address", cluster.address, options=options) as driver:
        driver.until(all_train)
        since = time.time()
        end(busy_node(cluster, tmp_path))
        cluster.add_node("late", cpus=1)
        assert driver.wait() == 0, driver.error
        assert driver.losses() == 1
        driver.tell_recovery(since)
    wait_for_shipper(tmp_path)
    check_record(tmp_path, "tiny", trials=6, tracked=True)


def test_a_hung_node_comes_back_as_a_zombie_and_writes_nothing(
    cluster: nodes.LocalCluster, tmp_path: Path
) -> None:
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(all_train)
        frozen = list(busy_node(cluster, tmp_path).alive())
        since = time.time()
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        driver.until(lambda events: driver.losses() == 1)
        driver.until(lambda events: events[-1]["event"] == "started")
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        assert driver.wait() == 0, driver.error
        assert driver.losses() == 1
        driver.tell_recovery(since)
        psutil.wait_procs(frozen, timeout=60)
    check_record(tmp_path, "tiny", trials=4)
    assert not list(tmp_path.glob("sweeps/tiny/trials/*/error.txt"))


def test_a_node_that_hangs_while_it_prepares_the_data_is_done_without(
    cluster: nodes.LocalCluster, tmp_path: Path
) -> None:
    sweep(tmp_path, trials=2, epochs=2)
    hung = next(n for n in cluster.nodes if n.name != "head" and any(n.alive()))
    for process in hung.alive():
        process.send_signal(signal.SIGSTOP)
    with start(tmp_path, "--address", cluster.address) as driver:
        assert driver.wait() == 0, driver.error
    end(hung)
    check_record(tmp_path, "tiny", trials=2)


def test_all_nodes_die_and_come_back(cluster: nodes.LocalCluster, tmp_path: Path) -> None:
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(all_train)
        for node in cluster.nodes:
            if node.name != "head":
                end(node)
        there = epochs_on_disk(tmp_path)
        driver.until(lambda events: driver.losses() == 3)
        since = time.time()
        cluster.add_node("again", cpus=2)
        assert driver.wait() == 0, driver.error
        assert driver.losses() == 3
        driver.tell_recovery(since)
    assert all(epochs >= there.get(n, 0) for n, epochs in epochs_on_disk(tmp_path).items())
    check_record(tmp_path, "tiny", trials=4)


def test_the_gcs_is_killed_and_the_sweep_goes_on_without_that_cluster(
    cluster: nodes.LocalCluster, tmp_path: Path
) -> None:
    """Without fault-tolerant storage the cluster is lost; the sweep is not. (It comes last.)"""
    sweep(tmp_path, trials=4)
    with start(tmp_path, "--address", cluster.address) as driver:
        driver.until(mid_sweep)
        cluster.node("head").find("gcs_server").kill()
        assert driver.wait() != 0
        finished = set(driver.numbers("ended"))
    nodes.down(cluster)
    since = time.time()
    with driver.continued() as again:
        assert again.wait() == 0, again.error
        again.tell_recovery(since)
        assert not finished & set(again.numbers("started"))
    check_record(tmp_path, "tiny", trials=4)
