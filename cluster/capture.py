"""What a driver ran with: enough to run a trial again elsewhere, and to see why it would differ.

Each start of a driver leaves `environment/<n>.json` in the sweep's folder (command line, git
commit, versions, GPUs and code of every node, fingerprints of the data) and, where the checkout was
changed, `<n>.patch` beside it, the difference to that commit. `s4sweep best NAME --yaml` puts what
decides a trial's numbers into its `ran_with`, and whoever runs that file is told what differs.
"""

from __future__ import annotations

import platform
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from cluster import probe
from cluster.data import NodeReport
from dashboards.record import TrialRecord, read_json
from s4core.checkout import git_commit, git_diff
from sweeps import Study
from sweeps.files import write_json, write_text

_LIBRARIES = ("torch", "numpy")  # of the packages, those that decide a trial's numbers


def describe(nodes: Sequence[NodeReport], *, argv: Sequence[str] = sys.argv) -> dict[str, Any]:
    """Say what this process and the nodes are, as plain data."""
    return {
        "time": time.time(),
        "command": shlex.join(argv),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "nodes": [vars(node) for node in nodes],
    }


def this_machine() -> NodeReport:
    """What can be said of this machine without Ray and without opening data."""
    return NodeReport(
        address="here",
        host=socket.gethostname(),
        versions=probe.versions(),
        code=probe.code_hash(),
        gpus=probe.smi(),
        data={},
    )


def keep(folder: Path, about: Mapping[str, Any]) -> Path:
    """Write down in a sweep's folder what `describe` said; returns the file."""
    place = folder / "environment"
    number = len(list(place.glob("*.json"))) + 1
    patch = git_diff() if str(about["git_commit"]).endswith("-dirty") else ""
    if patch:
        write_text(place / f"{number:03d}.patch", patch)
    path = place / f"{number:03d}.json"
    write_json(path, about)
    return path


def ran_with(study: Study, number: int) -> dict[str, str]:
    """What decides the numbers of a trial, as far as it was written down: text by name."""
    trial = TrialRecord(study.trial_folder(number))
    attempt = (trial.attempts() or [{}])[-1]
    about = _environment_at(study.folder, attempt.get("time", 0.0))
    nodes = about.get("nodes", [])
    node = next((n for n in nodes if n["host"] == attempt.get("host")), (nodes or [{}])[0])
    gpu = attempt.get("gpu")  # a trial on a CPU is one on a CPU again, whatever else is there
    found = {
        "commit": attempt.get("git_commit"),
        **_facts(about, node),
        "gpu": gpu and _gpu(node.get("gpus", []), gpu.split(",")[0]),
        "data": (trial.data() or {}).get("fingerprint"),
    }
    return {name: value for name, value in found.items() if value}


def deviations(before: Mapping[str, str], about: Mapping[str, Any]) -> list[str]:
    """A line for each thing that `ran_with` said otherwise than it is on one of the nodes now."""
    lines = []
    for node in about["nodes"]:
        now = _facts(about, node)
        if "gpu" in before:
            now["gpu"] = _gpu(node["gpus"], before["gpu"].split(",")[0])
        if node["data"]:
            now["data"] = ", ".join(node["data"].values())
        for name, value in now.items():
            if before.get(name, value) != value:
                lines.append(f"{name} is {value} and was {before[name]}")
    return list(dict.fromkeys(lines))


def differences(nodes: Sequence[NodeReport]) -> list[str]:
    """A line for each thing that all nodes must have alike and have not."""
    lines = []
    keys = sorted({key for node in nodes for key in node.versions})
    views = {key: {node.address: node.versions.get(key, "none") for node in nodes} for key in keys}
    views["code of s4sweep"] = {node.address: node.code for node in nodes}
    for what, seen in views.items():
        if len(set(seen.values())) > 1:
            where = ", ".join(f"{value} on {address}" for address, value in seen.items())
            lines.append(f"the nodes differ in {what}: {where}; results may differ with the node")
    return lines


def _environment_at(folder: Path, moment: float) -> dict[str, Any]:
    """The environment of the driver that was at work at `moment`; {} if none was kept."""
    kept = [read_json(path) or {} for path in folder.glob("environment/*.json")]
    return max((k for k in kept if k["time"] <= moment), key=lambda k: k["time"], default={})


def _facts(about: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, str]:
    versions = node.get("versions", {})
    facts = {"code": node.get("code"), "python": about.get("python")}
    facts |= {name: versions.get(name) for name in _LIBRARIES}
    return {name: value for name, value in facts.items() if value}


def _gpu(seen: Sequence[str], name: str) -> str:
    """The GPU of that name as "name, driver"; the first one where there is none, or "none"."""
    known = [", ".join(line.split(", ")[:2]) for line in seen]
    return next((gpu for gpu in known if gpu.startswith(name)), known[0] if known else "none")


def _packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return dict(sorted(found.items()))
