"""Hosts that lose their power: the head, with and without storage of its own, and the driver's.

Each host is a set of namespaces (tests/contracts/hosts.py); needs root.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import Driver, start
from engine_contract import check_record, tiny
from hosts import PORT, Host, hosts

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root"),
]

# A raylet and a driver that have lost their head give up after 15 s instead of a minute.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}


class Cluster:
    """A head without CPUs and two workers."""

    def __init__(self, there: list[Host]) -> None:
        self.head, self.one, self.two = there
        self.address = f"{self.head.address}:{PORT}"

    def boot_head(self) -> None:
        self.head.boot("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")

    def boot(self) -> None:
        """Start all three."""
        self.boot_head()
        for host in (self.one, self.two):
            host.boot(f"--address={self.address}", "--num-cpus=1")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "token").write_text("0" * 64)
    (tmp_path / "token").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        for key, value in QUICK.items():
            patch.setenv(key, value)
        with hosts("s4head", "s4one", "s4two") as there:
            yield Cluster(there)


@pytest.fixture
def gcs_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault-tolerant storage for the GCS of the heads that a test boots."""
    monkeypatch.setenv("RAY_gcs_storage", "rocksdb")
    monkeypatch.setenv("RAY_gcs_storage_path", str(tmp_path / "gcs"))


def sweep(home: Path, trials: int = 4, epochs: int = 8) -> None:
    """Write a sweep of trials of about a second an epoch, of which none may fail."""
    search = {"trials": trials, "max_failures": 0}
    model = {"name": "lab.faulty", "delay_s": 0.25}
    tiny(home, model=model, train={"epochs": epochs}, search=search, resources={"concurrent": 2})


def both_train(events: list[dict[str, object]]) -> bool:
    """Two trials have an epoch each."""
    return len({e["number"] for e in events if e["event"] == "epoch"}) >= 2


def killed(host: Host, program: str) -> tuple[list[str], dict[str, str]]:
    """SIGKILL the process of a host that runs `program`; its words and its environment."""
    found = [psutil.Process(pid) for pid in host.pids()]
    process = next(p for p in found if p.name() == program)
    words, environment = process.cmdline(), process.environ()
    process.kill()
    process.wait()
    return words, environment


def comes_back(cluster: Cluster, what: str) -> None:
    """Kill the GCS of the head, or all that runs there, and start it again as it was."""
    if what == "head":
        cluster.head.cut()
        cluster.boot_head()
        return
    words, environment = killed(cluster.head, "gcs_server")
    detached = ("sh", "-c", '"$@" >/dev/null 2>&1 &', "sh")
    subprocess.run([*cluster.head.enter, *detached, *words], env=environment, check=True)


def goes_on(driver: Driver, cluster: Cluster, host: Host, since: float) -> str:
    """Do on a host what the driver's words say goes on with the sweep; what that one said."""
    with driver.continued("--address", cluster.address, host=host) as again:
        assert again.wait() == 0, again.error
        again.tell_recovery(since)
        assert not set(driver.numbers("ended")) & set(again.numbers("started"))
    return again.error


def test_a_head_without_storage_dies_and_the_sweep_goes_on_under_the_next(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Everything of Ray ends with its head; the same hosts start again, and so does the sweep."""
    sweep(tmp_path)
    cluster.boot()
    with start(tmp_path, "--address", cluster.address, host=cluster.one) as driver:
        driver.until(both_train)
        cluster.head.cut()
        assert driver.wait() != 0
        cluster.one.cut()
        cluster.two.cut()
        cluster.boot()
        goes_on(driver, cluster, cluster.one, since=time.time())
    result = check_record(tmp_path, "tiny", trials=4)
    assert len(result.trials) == 4


@pytest.mark.usefixtures("gcs_storage")
@pytest.mark.parametrize("what", ["gcs", "head"])
def test_a_head_with_storage_dies_and_comes_back_and_the_sweep_does_not_notice(
    cluster: Cluster, tmp_path: Path, what: str
) -> None:
    """RocksDB on a disk that outlives it: no trial is started again, no epoch repeated."""
    sweep(tmp_path)
    cluster.boot()
    with start(tmp_path, "--address", cluster.address, host=cluster.one) as driver:
        driver.until(both_train)
        comes_back(cluster, what)
        assert driver.wait() == 0, driver.error
        assert driver.losses() == 0
        assert sorted(driver.numbers("started")) == [0, 1, 2, 3]
    check_record(tmp_path, "tiny", trials=4)


@pytest.mark.usefixtures("gcs_storage")
def test_a_head_with_storage_that_drives_dies_and_comes_back_and_the_sweep_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The driver is lost with its host; the nodes of the trials stay, and take them up again."""
    sweep(tmp_path)
    cluster.boot()
    with start(tmp_path, "--address", cluster.address, host=cluster.head) as driver:
        driver.until(both_train)
        since = time.time()
        comes_back(cluster, "head")
        assert driver.wait() != 0
        goes_on(driver, cluster, cluster.head, since)
    assert len(check_record(tmp_path, "tiny", trials=4).trials) == 4


def test_the_node_under_a_driver_dies_and_it_ends_with_the_command_that_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Its raylet alone is killed: Ray would let the driver wait for ever."""
    sweep(tmp_path)
    cluster.boot()
    with start(tmp_path, "--address", cluster.address, host=cluster.one) as driver:
        driver.until(both_train)
        since = time.time()
        killed(cluster.one, "raylet")
        assert driver.wait() == 1
        assert driver.error.splitlines() == [
            "s4sweep: the node of Ray under this driver has died; "
            f"`s4sweep resume tiny --allow-imports --home {tmp_path}` goes on."
        ]
        goes_on(driver, cluster, cluster.two, since)
    assert len(check_record(tmp_path, "tiny", trials=4).trials) == 4


def test_the_host_of_the_driver_dies_and_another_host_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The heartbeat of the lost driver runs out first: the other host waits for it by itself."""
    sweep(tmp_path)
    cluster.boot()
    with start(tmp_path, "--address", cluster.address, host=cluster.one) as driver:
        driver.until(both_train)
        cluster.one.cut()
        since = time.time()
        assert driver.wait() != 0
        assert "Waiting for a sign of life" in goes_on(driver, cluster, cluster.two, since)
    check_record(tmp_path, "tiny", trials=4)
