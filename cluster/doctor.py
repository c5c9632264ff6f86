"""`s4sweep cluster doctor`: ask every node about itself, compare, and say what to fix.

It runs inside the cluster (as a job, if asked from outside), so that what it finds is what trials
will find. The comparison is a function of plain data.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cluster import auth, probe

Level = Literal["ok", "warn", "fail"]
MAX_CLOCK_S = 1.0
MIN_FREE_GB = 5.0
MIN_SHM_GB = 0.5
MIN_FILES = 4096
MAX_WRITE_MS = 2000.0
_PEERS = 8  # of each node, so that a thousand nodes do not open a million connections
_TIMEOUT_S = 120.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: where, what, and what to do about it."""

    level: Level
    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f" - {self.fix}" if self.fix else ""
        return f"{self.level:<4}  {self.where}: {self.what}{fix}"


def main(address: str | None, *, mlflow: str | None, as_json: bool) -> int:
    """Examine the cluster at a URL, or the one that this process is inside of; 1 if it is ill."""
    from cluster import jobs

    inside = jobs.address_inside()
    if address is None and inside:
        from cluster.runtime import ray_running
        from sweeps import home

        with ray_running(inside):
            findings = examine(str(home()), mlflow=mlflow)
        return tell(findings, as_json=as_json)
    from cluster.parcel import refuse_password
    from cluster.submit import relay

    if mlflow:
        refuse_password(mlflow)
    words = ["cluster", "doctor", *(["--mlflow", mlflow] if mlflow else [])]
    return relay(jobs.find_address(address), [*words, *(["--json"] if as_json else [])])


def tell(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print findings, the bad ones last; returns 1 if there is a failure."""
    if as_json:
        print(json.dumps([dataclasses.asdict(f) for f in findings]))
    else:
        order = {"ok": 0, "warn": 1, "fail": 2}
        for finding in sorted(findings, key=lambda f: order[f.level]):
            print(auth.redact(str(finding)))
    return int(any(f.level == "fail" for f in findings))


def examine(home: str, *, mlflow: str | None) -> list[Finding]:
    """Probe every node of the Ray that this process is connected to."""
    import ray

    nonce = uuid.uuid4().hex
    nodes = [node for node in ray.nodes() if node["Alive"]]
    root = Path(home)
    try:
        (root / probe.PROBES).mkdir(parents=True, exist_ok=True)
        probe.write(root, "driver", nonce)
    except OSError as error:
        what = f"cannot write to {home}: {error.strerror}"
        return [Finding(level="fail", where="driver", what=what, fix="give another --home")]
    uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI", "")
    sent = time.time()
    calls = {node["NodeID"]: _probe(node, nodes, home, nonce, uri) for node in nodes}
    probes: dict[str, Mapping[str, Any] | str] = {}
    for node_id, call in calls.items():
        try:
            probes[node_id] = ray.get(call, timeout=_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            probes[node_id] = " ".join(str(error).split())[:200]
    delay = time.time() - sent
    findings = list(judge([_named(n, probes[n["NodeID"]]) for n in nodes], delay=delay))
    for node in nodes:
        answered = not isinstance(probes[node["NodeID"]], str)
        if answered and not _has_written(root, node["NodeID"]):
            findings.append(
                Finding(
                    level="fail",
                    where=node["NodeManagerHostname"],
                    what=f"what it writes to {home} is not seen here",
                    fix="mount one shared folder at this path on every node",
                )
            )
    findings += _gpu_findings(nodes)
    probe.clear(root)
    return findings


def _has_written(home: Path, node: str) -> bool:
    try:
        return probe.read(home, node) is not None
    except OSError:
        return False


def _named(node: Mapping[str, Any], found: Mapping[str, Any] | str) -> dict[str, Any]:
    name = f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})"
    if isinstance(found, str):
        return {"name": name, "silent": found}
    return {**found, "name": name, "ray_gpus": node["Resources"].get("GPU", 0.0)}


def _probe(
    node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], home: str, nonce: str, mlflow: str
) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    head = ray.get_runtime_context().gcs_address
    others = [n for n in nodes if n["NodeID"] != node["NodeID"]][:_PEERS]
    ports = [head]
    for other in others:
        for port in (other["NodeManagerPort"], other["ObjectManagerPort"]):
            ports.append(f"{other['NodeManagerAddress']}:{port}")
    affinity = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=affinity)(probe.look)
    return task.remote(home=home, nonce=nonce, node=node["NodeID"], ports=ports, mlflow=mlflow)


def _gpu_findings(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Ask each node that offers GPUs for one, and torch whether it sees it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    findings = []
    for node in nodes:
        if not node["Resources"].get("GPU"):
            continue
        affinity = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, num_gpus=0.01, scheduling_strategy=affinity)(probe.gpus)
        where = node["NodeManagerHostname"]
        try:
            seen = ray.get(task.remote(), timeout=_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            text = " ".join(str(error).split())[:200]
            findings.append(Finding(level="warn", where=where, what=f"no GPU was free: {text}"))
            continue
        if seen:
            findings.append(Finding(level="ok", where=where, what=f"torch sees {seen[0]}"))
        else:
            findings.append(
                Finding(
                    level="fail",
                    where=where,
                    what="Ray offers a GPU that torch does not see",
                    fix="install a CUDA build of torch that fits the driver, or --num-gpus=0",
                )
            )
    return findings


def judge(probes: Sequence[Mapping[str, Any]], *, delay: float = 0.0) -> Iterator[Finding]:
    """Compare what the nodes said. delay: seconds over which the answers were collected."""
    for silent in (p for p in probes if "silent" in p):
        yield Finding(
            level="fail",
            where=silent["name"],
            what=f"no answer: {silent['silent']}",
            fix="look at Ray's logs on it, or take it out of the cluster",
        )
    spoken = [p for p in probes if "silent" not in p]
    if not spoken:
        return
    yield from _differences(spoken)
    for node in spoken:
        problems = list(_problems(node, delay=delay, clocks=[p["time"] for p in spoken]))
        yield from problems or [Finding(level="ok", where=node["name"], what=probe.summary(node))]


def _differences(probes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What must be the same everywhere and is not; the majority is taken to be right."""
    keys: dict[str, list[str]] = {
        "Python": [".".join(p["python"].split(".")[:2]) for p in probes],
        "the code of s4sweep": [p["code"] for p in probes],
        "user id": [str(p["uid"]) for p in probes],
        **{name: [p["versions"][name] for p in probes] for name in probe.LIBRARIES},
    }
    for key, values in keys.items():
        usual = max(set(values), key=values.count)
        for node, value in zip(probes, values, strict=True):
            if value != usual:
                yield Finding(
                    level="warn" if key == "user id" else "fail",
                    where=node["name"],
                    what=f"{key} is {value}, elsewhere {usual}",
                    fix="use one image or one lock file on all nodes"
                    if key != "user id"
                    else "run Ray as the same user everywhere, or files will not be writable",
                )


Check = tuple[bool, Level, str, str]  # whether it applies, how bad, what, and the way out


def _problems(
    node: Mapping[str, Any], *, delay: float, clocks: Sequence[float]
) -> Iterator[Finding]:
    middle = sorted(clocks)[len(clocks) // 2]
    ports: list[Check] = [
        (True, "fail", f"cannot connect to {port}: {reason}", "open Ray's ports between all nodes")
        for port, reason in node["ports"].items()
    ]
    clock: Check = (
        abs(node["time"] - middle) > MAX_CLOCK_S + delay,
        "warn",
        f"its clock is {node['time'] - middle:+.1f} s off",
        "run an NTP daemon: leases and logs compare times",
    )
    for applies, level, what, fix in [*_of_storage(node), *_of_host(node), clock, *ports]:
        if applies:
            yield Finding(level=level, where=node["name"], what=what, fix=fix)


def _of_storage(node: Mapping[str, Any]) -> list[Check]:
    disk = node["storage"]
    return [
        (
            bool(disk["error"]),
            "fail",
            f"cannot write to the home {node['home']}: {disk['error']}",
            "give the user of Ray write access to it",
        ),
        (
            not disk["seen"] and not disk["error"],
            "fail",
            f"does not see the driver's files in {node['home']}",
            "mount one shared folder at this path on every node",
        ),
        (
            disk["seen"] and disk["free_gb"] < MIN_FREE_GB,
            "warn",
            f"{disk['free_gb']:.1f} GB are free in the home",
            "make room: checkpoints and caches go there",
        ),
        (
            disk["write_ms"] > MAX_WRITE_MS,
            "warn",
            f"a small file takes {disk['write_ms']:.0f} ms to write to the home",
            "each epoch writes several: use a faster storage",
        ),
    ]


def _of_host(node: Mapping[str, Any]) -> list[Check]:
    return [
        (
            bool(node["mlflow"]),
            "warn",
            f"MLflow: {node['mlflow']}",
            "open the port, or add the host to MLflow's --allowed-hosts",
        ),
        (
            node["ray_gpus"] > len(node["gpus"]) > 0,
            "fail",
            f"Ray offers {node['ray_gpus']:g} GPUs and nvidia-smi shows {len(node['gpus'])}",
            "start Ray with the right --num-gpus",
        ),
        (
            node["shm_gb"] < MIN_SHM_GB,
            "warn",
            f"/dev/shm has {node['shm_gb']:.1f} GB free",
            "give containers a larger --shm-size",
        ),
        (
            node["files"] < MIN_FILES,
            "warn",
            f"a process may open {node['files']} files",
            "raise it: ulimit -n 65536",
        ),
    ]
