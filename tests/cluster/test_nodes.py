"""A local cluster is several real nodes, asks for its token, survives a lost node, ends wholly."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import auth, cli, nodes, ray_http
from cluster.errors import UserError

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.LocalCluster]:
    folder = tmp_path_factory.mktemp("nodes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "S4SWEEP_ADDRESS"):
            patch.delenv(name, raising=False)
        cluster = nodes.up(str(folder / "home"), workers=2, cpus=1)
        yield cluster
        nodes.down(nodes.load("local") or cluster)


def test_the_head_has_no_cpus_and_the_nodes_have_theirs(cluster: nodes.LocalCluster) -> None:
    alive = ray_http.alive_nodes(cluster.dashboard)
    cpus = sorted(node["raylet"]["resourcesTotal"].get("CPU", 0) for node in alive)
    assert cpus == [0, 1, 1]
    assert [node.name for node in cluster.nodes] == ["head", "node1", "node2"]


def test_the_dashboard_of_the_cluster_is_found(
    cluster: nodes.LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dashboard", "--ray"]) == 0
    assert capsys.readouterr().out == f"{cluster.dashboard}\n"


def test_nobody_gets_in_without_the_token(cluster: nodes.LocalCluster) -> None:
    url = f"{cluster.dashboard}/api/version"
    assert ray_http.get(url)["ray_version"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ray_http.get(url, token=False)
    assert refused.value.code == 401


def test_no_command_line_or_log_of_a_node_holds_the_token(cluster: nodes.LocalCluster) -> None:
    token = auth.read_token()
    assert token
    lines = [" ".join(p.cmdline()) for node in cluster.nodes for p in node.alive()]
    assert len(lines) > 6
    assert not [line for line in lines if token in line]
    logs = [p for p in cluster.scratch.rglob("*") if p.suffix in (".log", ".out", ".err")]
    assert logs
    assert not [p for p in logs if p.is_file() and token in p.read_text(errors="replace")]
    assert token not in cluster.state_file.read_text()


def test_a_second_cluster_of_the_name_is_refused(cluster: nodes.LocalCluster) -> None:
    with pytest.raises(UserError, match="is up already: s4sweep cluster down --name local ends it"):
        nodes.up(cluster.home, workers=1, cpus=1)


def test_a_node_joins_and_dies_and_who_asks_next_is_told(cluster: nodes.LocalCluster) -> None:
    """At the first question after a while, too, which Ray would answer out of its cache."""
    grown = cluster.add_node("extra", resources={"slot": 1})
    alive = {n["raylet"]["tempDir"]: n for n in ray_http.alive_nodes(cluster.dashboard)}
    assert len(alive) == 4
    extra = alive[str(cluster.scratch / "extra")]["raylet"]["nodeId"]
    grown.node("extra").find("raylet").kill()
    deadline = time.monotonic() + 30
    detail = f"{cluster.dashboard}/nodes/{extra}?nocache=1"
    while ray_http.get(detail)["data"]["detail"]["raylet"]["state"] == "ALIVE":
        assert time.monotonic() < deadline, "the dead node is still listed as alive"
        time.sleep(0.2)
    assert len(ray_http.alive_nodes(cluster.dashboard)) == 3
    assert list(cluster.node("node1").alive())


def test_a_stranger_with_a_recycled_pid_is_not_touched() -> None:
    """A pid alone does not name a process: the start time must agree too."""
    node = nodes.Node(name="old", processes=((psutil.Process().pid, 1.0),))
    assert not list(node.alive())


def test_down_leaves_no_process_and_no_file(cluster: nodes.LocalCluster) -> None:
    current = nodes.load("local")
    assert current is not None
    processes = [p for node in current.nodes for p in node.alive()]
    assert nodes.down(current) == len(processes) > 6
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not current.scratch.exists()
    assert nodes.load("local") is None
    assert not Path(current.state_file).exists()
