"""Files that start a cluster elsewhere, filled in from checked values: `s4sweep cluster render`.

The templates hold no logic but two rules (an empty value removes its line, a value of several lines
is indented like its placeholder), so that a reader sees the file that will come out. Every value is
checked against its pattern first: none can break out of the YAML or the shell line it stands in.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from cluster.errors import UserError

RAY_VERSION = "2.60.0"
_PLACEHOLDER = re.compile(r"@\{([a-z_]+)\}")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?"
_HOST = r"[A-Za-z0-9]([-A-Za-z0-9.]{0,252}[A-Za-z0-9])?"
_PATH = r"/[\w./+-]*"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One value of a cluster file: its default, the pattern it must match, and what it is."""

    default: str | int
    pattern: str
    help: str

    def check(self, name: str, value: str | int) -> str | int:
        """Return `value`, or raise UserError if it has another type or does not match."""
        option = f"--{name.replace('_', '-')}"
        if isinstance(self.default, int):
            if not re.fullmatch(r"\d{1,6}", str(value)):
                raise UserError(f"{option} wants a whole number from 0 to 999999, got {value!r}.")
            return int(value)
        if not re.fullmatch(self.pattern, str(value)):
            raise UserError(f"{option} must match {self.pattern!r}, got {value!r}.")
        return str(value)


SETTINGS: Mapping[str, Setting] = {
    "name": Setting(default="s4sweep", pattern=_LABEL, help="name of the cluster"),
    "image": Setting(
        default="s4sweep:latest", pattern=r"[a-z0-9][\w./:@-]*", help="image of every node"
    ),
    "gpus": Setting(default=0, pattern="", help="GPUs in all"),
    "gpus_per_node": Setting(default=0, pattern="", help="GPUs of a node (at most 8 of --gpus)"),
    "cpu_workers": Setting(default=0, pattern="", help="nodes without GPUs (2 where no --gpus)"),
    "cpus": Setting(default=8, pattern="", help="CPUs of a worker node"),
    "memory": Setting(default=32, pattern="", help="memory of a worker node, in GiB"),
    "home": Setting(
        default="/mnt/s4sweep",
        pattern=rf"{_PATH}|(s3|gs)://[\w./-]+",
        help="where sweeps are kept: a folder that all nodes share, s3://... or gs://...",
    ),
    "mlflow": Setting(
        default="",
        pattern=rf"|https?://{_HOST}(:\d+)?{_PATH}|https?://{_HOST}(:\d+)?",
        help="tracking server; empty: SQLite in the home",
    ),
    "token_file": Setting(
        default="~/.ray/auth_token", pattern=rf"~?{_PATH}", help="Ray's token on this machine"
    ),
    "token_secret": Setting(default="", pattern=rf"|{_LABEL}", help="Kubernetes secret with it"),
    "namespace": Setting(default="default", pattern=_LABEL, help="Kubernetes namespace"),
    "storage": Setting(default=200, pattern="", help="size of the home's volume, in GiB"),
    "storage_class": Setting(default="", pattern=r"|[a-z0-9.-]+", help="class of that volume"),
    "sweep": Setting(default="", pattern=r"|[\w./+-]+", help="sweep to run (kuberay: as a RayJob)"),
    "partition": Setting(default="", pattern=r"|[\w,.-]+", help="Slurm partition"),
    "account": Setting(default="", pattern=r"|[\w.-]+", help="Slurm account"),
    "time": Setting(
        default="24:00:00", pattern=r"(\d+-)?\d{1,2}:\d{2}:\d{2}", help="Slurm time limit"
    ),
    "cloud": Setting(default="onprem", pattern="aws|gcp|onprem", help="ray-up: aws, gcp or onprem"),
    "region": Setting(default="", pattern=r"|[a-z0-9-]+", help="region of the cloud"),
    "zone": Setting(default="", pattern=r"|[a-z0-9-]+", help="availability zone"),
    "project": Setting(default="", pattern=r"|[a-z][a-z0-9-]{4,28}[a-z0-9]", help="gcp project"),
    "head_instance": Setting(default="", pattern=r"|[a-z0-9.-]+", help="machine type of the head"),
    "gpu_instance": Setting(default="", pattern=r"|[a-z0-9.-]+", help="machine type with GPUs"),
    "cpu_instance": Setting(default="", pattern=r"|[a-z0-9.-]+", help="machine type without GPUs"),
    "ssh_user": Setting(default="ubuntu", pattern=r"[a-z_][a-z0-9_-]*", help="user to log in as"),
    "nfs": Setting(
        default="", pattern=rf"|{_HOST}:{_PATH}", help="ray-up: host:/export to mount as the home"
    ),
    "head_ip": Setting(default="", pattern=rf"|{_HOST}", help="onprem: the head's address"),
    "worker_ips": Setting(
        default="", pattern=rf"|{_HOST}(,{_HOST})*", help="onprem: a,b,c the workers' addresses"
    ),
}

CLOUDS = {
    "aws": {
        "region": "us-west-2",
        "zone": "us-west-2a",
        "head_instance": "m6i.xlarge",
        "gpu_instance": "g5.2xlarge",
        "cpu_instance": "m6i.2xlarge",
    },
    "gcp": {
        "region": "us-central1",
        "zone": "us-central1-a",
        "head_instance": "n2-standard-4",
        "gpu_instance": "g2-standard-8",
        "cpu_instance": "n2-standard-8",
        "source_image": "projects/deeplearning-platform-release/global/images/family/common-cu128",
    },
    "onprem": {},
}
KINDS = ("kuberay", "slurm", "ray-up", "compose", "dockerfile")
COMMON = ("name", "image", "gpus", "gpus_per_node", "cpu_workers", "cpus", "memory", "home")
# The settings that have a meaning for each kind; any other is refused rather than ignored.
USES: Mapping[str, tuple[str, ...]] = {
    "kuberay": (
        *(*COMMON, "mlflow", "token_secret", "namespace", "storage", "storage_class", "sweep"),
    ),
    "slurm": (*COMMON[:1], *COMMON[2:], "mlflow", "sweep", "partition", "account", "time"),
    "ray-up": (
        *(*COMMON, "mlflow", "token_file", "cloud", "region", "zone", "project", "head_instance"),
        *("gpu_instance", "cpu_instance", "ssh_user", "nfs", "head_ip", "worker_ips"),
    ),
    "compose": (*COMMON, "token_file"),
    "dockerfile": ("image", "home"),
}


def render(kind: str, given: Mapping[str, str | int], *, sweep_text: str = "") -> str:
    """The text of one cluster file; `given` are the settings that differ from their defaults.

    Raises UserError for a setting that `kind` has no use for, and for a value that cannot be.
    """
    useless = sorted(set(given) - set(USES[kind]))
    if useless:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in useless)
        raise UserError(f"{kind} has no use for {options}.")
    values: dict[str, str | int] = {
        name: SETTINGS[name].check(name, given.get(name, SETTINGS[name].default))
        for name in SETTINGS
    }
    _derive(values)
    if kind == "kuberay":
        return _kuberay(values, sweep_text)
    if kind == "ray-up":
        return _ray_up(values)
    if kind == "slurm" and not values["sweep"]:
        raise UserError("slurm runs one sweep: add --sweep FILE, as the nodes see it.")
    values["token_file"] = re.sub("^~", "${HOME}", str(values["token_file"]))
    file = {"slurm": "slurm.sbatch", "compose": "compose.yaml", "dockerfile": "dockerfile"}[kind]
    return fill(file, values)


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """The template with its placeholders replaced; a line with an empty value is left out."""
    text = resources.files("cluster.templates").joinpath(f"{template}.tmpl").read_text()
    lines = []
    for line in text.splitlines():
        names = _PLACEHOLDER.findall(line)
        if any(values[name] in ("", 0) and name not in _ZERO_IS_A_VALUE for name in names):
            continue
        indent = " " * (len(line) - len(line.lstrip()))
        texts = {n: str(values[n]).rstrip("\n").replace("\n", f"\n{indent}") for n in names}
        lines.append(_PLACEHOLDER.sub(lambda found: texts[found[1]], line))  # noqa: B023
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


# A node type of nought nodes is one that the cluster may not grow.
_ZERO_IS_A_VALUE = ("gpu_nodes", "gpus_per_node", "cpu_workers", "min_replicas", "replicas")


def _derive(values: dict[str, str | int]) -> None:
    """Add what follows from the settings: node counts, mounts, sizes."""
    gpus, per_node = int(values["gpus"]), int(values["gpus_per_node"])
    per_node = per_node or min(gpus, 8)
    if gpus and gpus % per_node:
        raise UserError(f"--gpus {gpus} cannot be had with --gpus-per-node {per_node}.")
    if not gpus:
        values["cpu_workers"] = int(values["cpu_workers"]) or 2
    for name in ("cpus", "memory"):
        if not values[name]:
            raise UserError(f"--{name} must be at least 1.")
    home = str(values["home"])
    shared = "" if "://" in home else home
    values |= {
        "ray_version": RAY_VERSION,
        "gpus_per_node": per_node,
        "gpu_nodes": gpus // per_node if gpus else 0,
        "group_gpus": per_node if gpus else 0,
        # Kinds with one sort of node: those with GPUs, if any were asked for.
        "nodes": gpus // per_node if gpus else values["cpu_workers"],
        "max_workers": (gpus // per_node if gpus else 0) + int(values["cpu_workers"]),
        "shm": max(1, int(values["memory"]) * 3 // 10),  # Ray's object store wants 30 % of memory
        "home_mount": shared,
        "claim": f"{values['name']}-home" if shared else "",
        "token_secret": values["token_secret"] or f"{values['name']}-token",
        "base_image": "python:3.11-slim-bookworm",
    }


def _kuberay(values: dict[str, str | int], sweep_text: str) -> str:
    groups = []
    for group, count, gpus in (
        ("gpu", int(values["gpu_nodes"]), values["gpus_per_node"]),
        ("cpu", int(values["cpu_workers"]), 0),
    ):
        if count:
            counts = {"replicas": count, "min_replicas": 0, "max_replicas": count}
            group_values = {**values, **counts, "group": group, "group_gpus": gpus}
            groups.append(fill("kuberay-workers.yaml", group_values))
    has_sweep = "true" if sweep_text else ""
    values = {
        **values,
        "worker_groups": "".join(groups),
        "has_sweep": has_sweep,
        "sweep_map": f"{values['name']}-sweep" if sweep_text else "",
        "sweep_text": sweep_text,
    }
    values["ray_spec"] = fill("kuberay-spec.yaml", values)
    shared = [fill("kuberay-network.yaml", values)]
    if values["claim"]:
        shared.insert(0, fill("kuberay-volume.yaml", values))
    values["shared"] = "---\n".join(shared)
    return fill("kuberay-job.yaml" if sweep_text else "kuberay-cluster.yaml", values)


def _ray_up(values: dict[str, str | int]) -> str:
    cloud = str(values["cloud"])
    for name, default in CLOUDS[cloud].items():
        values[name] = values.get(name) or default
    needed = {"gcp": ("project",), "onprem": ("head_ip", "worker_ips"), "aws": ()}[cloud]
    missing = [f"--{n.replace('_', '-')}" for n in needed if not values[n]]
    if missing:
        raise UserError(f"ray-up --cloud {cloud} needs {' and '.join(missing)}.")
    hosts = str(values["worker_ips"]).split(",")
    mount = values["home_mount"]
    if values["nfs"] and not mount:
        raise UserError(f"--nfs is mounted as the home, and {values['home']} is no folder.")
    values |= {
        "worker_ips": json.dumps(hosts),
        "host_count": len(hosts),
        "mount_command": (
            f"sudo mkdir -p {mount} && (mountpoint -q {mount} || "
            f"sudo mount -t nfs {values['nfs']} {mount})"
            if values["nfs"]
            else ""
        ),
        "ray_environment": " ".join(_ray_environment(values)),
    }
    values["ray_up_common"] = fill("ray-up-common.yaml", values)
    return fill(f"ray-up-{cloud}.yaml", values)


def _ray_environment(values: Mapping[str, str | int]) -> list[str]:
    pairs = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "S4SWEEP_HOME": values["home"],
    }
    if values["mlflow"]:
        pairs["MLFLOW_TRACKING_URI"] = values["mlflow"]
    return [f"{name}={value}" for name, value in pairs.items()]


def read_sweep(path: str) -> str:
    """The text of a sweep's YAML file, after the check that it is a sweep at all."""
    import sweeps

    sweeps.load_spec(Path(path))
    return Path(path).read_text()
