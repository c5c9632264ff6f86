"""What a driver ran with: enough to run a trial again elsewhere, and to see why it would differ.

Each start of a driver leaves `environment/<n>.json` in the sweep's folder (command line, git
commit, versions, GPUs and code of every node, fingerprints of the data) and, where the checkout was
changed, `<n>.patch` beside it, the difference to that commit.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from cluster.data import NodeReport
from sweeps.files import write_text
from sweeps.trial import git_commit


def capture(folder: Path, nodes: Sequence[NodeReport], *, argv: Sequence[str] = sys.argv) -> Path:
    """Write down what this driver runs with; returns the file."""
    place = folder / "environment"
    place.mkdir(exist_ok=True)
    number = len(list(place.glob("*.json"))) + 1
    about: dict[str, Any] = {
        "time": time.time(),
        "command": shlex.join(argv),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "nodes": [vars(node) for node in nodes],
    }
    patch = _changes() if str(about["git_commit"]).endswith("-dirty") else ""
    if patch:
        write_text(place / f"{number:03d}.patch", patch)
    path = place / f"{number:03d}.json"
    write_text(path, json.dumps(about, indent=1))
    return path


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


def _packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return dict(sorted(found.items()))


def _changes() -> str:
    """What the checkout differs in from its commit; "" where git cannot say."""
    command = ["git", "-C", str(Path(__file__).parent.parent), "diff", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
