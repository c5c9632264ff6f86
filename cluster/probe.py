"""What one node says about itself: the part of `s4sweep cluster doctor` that runs on the nodes.

Every function returns plain data and changes nothing but a probe file of its own in the home.
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeps.plural import plural

LIBRARIES = ("ray", "torch", "numpy", "pyarrow", "optuna", "mlflow", "s4sweep")
PROBES = ".probes"
_CONNECT_S = 3.0


def look(*, home: str, nonce: str, node: str, ports: Sequence[str], mlflow: str) -> dict[str, Any]:
    """Everything about this node; `ports` are host:port to reach, `mlflow` a URL or ""."""
    return {
        "node": node,
        "time": time.time(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "versions": versions(),
        "code": code_hash(),
        "home": home,
        "storage": storage(Path(home), nonce=nonce, node=node),
        "ports": {port: answer for port in ports if (answer := connect(port))},
        "mlflow": reach(mlflow) if mlflow else "",
        "gpus": smi(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "shm_gb": _free_gb(Path("/dev/shm")),
        "scratch_gb": _free_gb(Path("/tmp")),
        "uid": os.getuid(),
    }


def versions() -> dict[str, str]:
    """The installed versions that must agree over the nodes."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def code_hash() -> str:
    """A hash of our packages' sources as this process imports them."""
    from cluster.parcel import code_folders

    digest = hashlib.sha256()
    for folder in code_folders():
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def storage(home: Path, *, nonce: str, node: str) -> dict[str, Any]:
    """Whether the home shows the driver's file, and takes a file written whole.

    Keys: seen (the driver's nonce was read), error (of writing, or ""), write_ms, free_gb.
    """
    result: dict[str, Any] = {"seen": False, "error": "", "write_ms": 0.0, "free_gb": 0.0}
    try:
        result["seen"] = read(home, "driver") == nonce
        result["free_gb"] = _free_gb(home if home.is_dir() else Path.home())
        started = time.perf_counter()
        write(home, node, nonce)
        result["write_ms"] = (time.perf_counter() - started) * 1e3
    except OSError as error:
        result["error"] = f"{error.strerror or error} ({error.filename or home})"
    return result


def write(home: Path, name: str, text: str) -> None:
    """Leave a note in the home: in the object store, if it lies in one."""
    from sweeps.remote_home import mirror

    there = mirror()
    if there is not None:
        there.write(f"{PROBES}/{name}", text.encode())
        return
    draft, final = home / PROBES / f".{name}.tmp", home / PROBES / name
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, final)


def read(home: Path, name: str) -> str | None:
    """A note that `write` left; None if there is none in an object store, OSError in a folder."""
    from sweeps.remote_home import mirror

    there = mirror()
    if there is None:
        return (home / PROBES / name).read_text()
    content = there.read(f"{PROBES}/{name}")
    return None if content is None else content.decode()


def clear(home: Path) -> None:
    """Take all notes away."""
    from sweeps.remote_home import mirror

    there = mirror()
    shutil.rmtree(home / PROBES, ignore_errors=True)
    if there is not None:
        for path in there.objects(PROBES):
            there.delete(path)


def connect(port: str) -> str:
    """Why a TCP connection to host:port fails, or ""."""
    host, _, number = port.rpartition(":")
    try:
        socket.create_connection((host, int(number)), timeout=_CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def reach(url: str) -> str:
    """Why an MLflow server does not answer, or ""; a database in a file is asked for its folder."""
    if not url.startswith(("http://", "https://")):
        path = Path(url.partition("://")[2].removeprefix("/"))
        return "" if path.parent.is_dir() else f"{path.parent} is not there"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_CONNECT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answers {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", None) or error)


def smi() -> list[str]:
    """The GPUs that the driver shows, as "name, driver, memory"; [] without one."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def gpus() -> list[str]:
    """The GPUs that torch sees in this process."""
    from s4core.devices import gpu_names

    return gpu_names()


def _free_gb(path: Path) -> float:
    try:
        return shutil.disk_usage(path).free / 2**30
    except OSError:
        return 0.0


def summary(probe: Mapping[str, Any]) -> str:
    """One line about a healthy node."""
    return (
        f"{probe['host']}: Python {probe['python']}, Ray {probe['versions']['ray']}, "
        f"{plural(len(probe['gpus']), 'GPU')}, home writes in {probe['storage']['write_ms']:.0f} ms"
    )
