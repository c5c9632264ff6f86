"""A real Ray cluster of several nodes on this machine: a head without CPUs and N raylets.

Every node is its own `ray start --block` process in its own session and its own scratch folder
(with a shared one, the first raylet that dies deletes files the others use), with token
authentication and a dashboard on 127.0.0.1. Pids are in a state file, and each is ended by pid and
start time: `ray stop` would end every Ray of this user. A head and two nodes start in about 6 s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from cluster import auth
from cluster.errors import FailedRun, UserError
from cluster.processes import Node, end, record
from cluster.ray_http import alive_nodes
from sweeps.files import write_json

_START_TIMEOUT_S = 180.0  # a busy machine takes a minute; one that ended is noticed at once
# Handles of what was started here: nodes outlive the call, and a dropped handle would warn of it.
_STARTED: list[subprocess.Popen[bytes]] = []
# Between those of Ray's workers and those that the kernel gives to whoever asks for any.
_PORTS = range(20000, 32768)
_OBJECT_STORE_BYTES = 256 * 2**20  # sweeps move no data through Ray; its default is 30 % of memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalCluster:
    """A running cluster: `address` for Ray drivers, `dashboard` (a URL) for jobs."""

    name: str
    home: str
    address: str
    dashboard: str
    scratch: Path
    state_file: Path
    nodes: tuple[Node, ...]

    def save(self) -> None:
        """Write the state file whole."""
        data = {
            **dataclasses.asdict(self),
            "scratch": str(self.scratch),
            "state_file": str(self.state_file),
        }
        write_json(self.state_file, data)

    def node(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def is_alive(self) -> bool:
        """Whether any process of it is left."""
        return any(True for node in self.nodes for _ in node.alive())

    def add_node(
        self, name: str, *, cpus: int = 1, resources: Mapping[str, float] | None = None
    ) -> LocalCluster:
        """Start one more node; returns the cluster with it."""
        process = _start_worker(self, name, cpus, range(0), resources)
        return self.with_nodes({name: process}, wait_for=[name])

    def with_nodes(
        self, started: Mapping[str, subprocess.Popen[bytes]], *, wait_for: list[str]
    ) -> LocalCluster:
        """Wait until the nodes `wait_for` have joined; returns the cluster that knows `started`."""
        for name in wait_for:
            _wait_for_node(self.dashboard, self.scratch / name, started[name])
        known = {node.name: node for node in self.nodes}
        known |= {name: record(name, process.pid) for name, process in started.items()}
        grown = dataclasses.replace(self, nodes=tuple(known.values()))
        grown.save()
        return grown


def state_file(name: str) -> Path:
    """Where the pids of the local cluster `name` are kept: not in the home, which may be shared."""
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(folder) / "s4sweep" / "clusters" / f"{name}.json"


def load(name: str) -> LocalCluster | None:
    """The cluster of that name, or None if none was started (its processes may be gone)."""
    path = state_file(name)
    if not path.exists():
        return None
    data = json.loads(path.read_text())
    nodes = tuple(
        Node(name=n["name"], processes=tuple((int(p), float(t)) for p, t in n["processes"]))
        for n in data.pop("nodes")
    )
    data |= {"scratch": Path(data["scratch"]), "state_file": path}
    return LocalCluster(**data, nodes=nodes)


def up(home: str, *, workers: int, cpus: int, gpus: int = 0, name: str = "local") -> LocalCluster:
    """Start a head and `workers` nodes with `cpus` CPUs and `gpus` of this machine's GPUs each.

    `home` becomes the nodes' S4SWEEP_HOME. Raises UserError if a cluster of that name runs already,
    FailedRun if one does not start; nothing is left running then.
    """
    old = load(name)
    if old is not None:
        if old.is_alive():
            raise UserError(
                f"cluster {name!r} is up already: s4sweep cluster down --name {name} ends it."
            )
        down(old)
    scratch = Path(tempfile.mkdtemp(prefix="s4ray-"))
    host, port, dashboard_port = _own_address(), _free_port(), _free_port()
    command = [
        *("--head", f"--node-ip-address={host}", f"--port={port}", "--num-cpus=0", "--num-gpus=0"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"),
        f"--ray-client-server-port={_free_port()}",
    ]
    cluster = LocalCluster(
        name=name,
        home=home,
        address=f"{host}:{port}",
        dashboard=f"http://127.0.0.1:{dashboard_port}",
        scratch=scratch,
        state_file=state_file(name),
        nodes=(),
    )
    started = {"head": _spawn(cluster, "head", command)}
    try:
        cluster = cluster.with_nodes(started, wait_for=["head"])
        for i in range(workers):
            devices = range(i * gpus, (i + 1) * gpus)
            started[f"node{i + 1}"] = _start_worker(cluster, f"node{i + 1}", cpus, devices)
        return cluster.with_nodes(started, wait_for=list(started))
    except BaseException:
        records = tuple(record(node, process.pid) for node, process in started.items())
        down(dataclasses.replace(cluster, nodes=records))
        raise


def _start_worker(
    cluster: LocalCluster,
    name: str,
    cpus: int,
    devices: range,
    resources: Mapping[str, float] | None = None,
) -> subprocess.Popen[bytes]:
    """Start one raylet that offers `cpus` CPUs, the GPUs `devices`, and custom `resources`."""
    command = [f"--address={cluster.address}", f"--num-cpus={cpus}", f"--num-gpus={len(devices)}"]
    if resources:
        command.append(f"--resources={json.dumps(dict(resources))}")
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
    return _spawn(cluster, name, command, visible)


def _spawn(
    cluster: LocalCluster,
    name: str,
    command: list[str],
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    words = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        *command,
        f"--temp-dir={cluster.scratch / name}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        f"--dashboard-agent-listen-port={_free_port()}",
        f"--metrics-export-port={_free_port()}",
    ]
    variables = {
        **{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
        **auth.child_environment(),
        # A job's entry line says `python`: let it be this one.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "S4SWEEP_HOME": cluster.home,
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        **(environment or {}),
    }
    with (cluster.scratch / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _STARTED.append(process)
    return process


def down(cluster: LocalCluster) -> int:
    """End every process of the cluster, remove its files; returns how many processes there were."""
    head = [node for node in cluster.nodes if node.name == "head"]
    workers = [node for node in cluster.nodes if node.name != "head"]
    # The workers first: they take leave of the head, or wait 30 s for one that is gone.
    count = end(workers) + end(head)
    _STARTED[:] = [handle for handle in _STARTED if handle.poll() is None]
    shutil.rmtree(cluster.scratch, ignore_errors=True)
    cluster.state_file.unlink(missing_ok=True)
    return count


def _wait_for_node(dashboard: str, place: Path, main: subprocess.Popen[bytes]) -> None:
    """Return when Ray has the node whose files lie in `place`; others may come and go meanwhile."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    reason = "it did not answer"
    while time.monotonic() < deadline:
        if main.poll() is not None:
            reason = f"`ray start` ended with {main.returncode}"
            break
        try:
            if any(node["raylet"]["tempDir"] == str(place) for node in alive_nodes(dashboard)):
                return
        except (OSError, KeyError, ValueError) as error:
            reason = str(error)
        time.sleep(0.2)
    log = place.with_name(f"{place.name}.log").read_text(errors="replace")
    words = auth.redact(" | ".join(log.strip().splitlines()[-3:]))
    raise FailedRun(f"Ray node {place.name} did not start: {reason}. Its last words: {words}")


def _own_address() -> str:
    """The address that Ray would choose; it replaces 127.0.0.1 by it anyway."""
    import ray.util

    return str(ray.util.get_node_ip_address())


def _free_port() -> int:
    """A port that nobody has, and that nobody is given by chance before we take it."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
