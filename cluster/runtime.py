"""Ray for one driver: an embedded one on this machine, or a connection to a cluster.

An embedded Ray costs 4-5 s to start and 430 MB in idle daemons; it dies with the driver. Its
dashboard and its telemetry are off, and its files lie in a short folder of its own, because a Unix
socket's path may have 107 bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray
import ray.exceptions

from cluster import auth
from cluster.errors import FailedRun, UserError

logger = logging.getLogger(__name__)

# Read by the workers' OpenMP and C library as they start (large pages make a training step 7 %
# faster); the rest of their allocator and their threads are set by reset_process.
WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Read by the daemons and by the driver. Ray's memory monitor is off: it was seen to kill the
# innocent trial, and Tune to die of it; MemoryGuard and the kernel do its work.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
# Every way in which a call can lose its worker or node; none is an error of what was called.
LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.RaySystemError,
    ray.exceptions.TaskUnschedulableError,
)
OBJECT_STORE_BYTES = 100 * 2**20  # nothing large travels through it: data is memory-mapped


@contextlib.contextmanager
def ray_running(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """Have Ray inside the block: connect to `address`, or start one on this machine (None).

    A Ray that this process is connected to already is taken as it is, and left so.
    cpus: CPUs that the embedded Ray offers; None: those this process may use.
    Raises UserError when nothing answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    if address is None:
        with _embedded(cpus):
            yield
        return
    os.environ.update(RAY_ENVIRONMENT)
    try:
        _need_answer(address)
        ray.init(
            address=address,
            runtime_env={"env_vars": {**WORKER_ENVIRONMENT, **_distant_home()}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        _keep_quiet()
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"no Ray cluster answers at {address}: {text}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _need_answer(address: str) -> None:
    """Raise OSError if nothing listens at host:port, for which Ray alone would wait minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _keep_quiet() -> None:
    """Keep Ray from printing of dead workers to stdout, into our lines, whatever it was told."""
    ray._private.worker._worker_logs_enabled = False


def _distant_home() -> dict[str, str]:
    """A home in an object store, which workers find by its URL; a folder they find by its path."""
    home = os.environ.get("S4SWEEP_HOME", "")
    return {"S4SWEEP_HOME": home} if "://" in home else {}


@contextlib.contextmanager
def _embedded(cpus: int | None) -> Iterator[None]:
    root = _sessions_folder()
    # Ray turns its token on by itself, and would write one that everybody can read.
    if not os.environ.get("RAY_AUTH_TOKEN"):
        auth.ensure_token()
    environment = {**RAY_ENVIRONMENT, **WORKER_ENVIRONMENT}
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update({key: os.environ.get(key, value) for key, value in environment.items()})
    try:
        _start(root, cpus or len(os.sched_getaffinity(0)))
    finally:
        # The workers have inherited them; this process shall stay as it was.
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
    try:
        yield
    finally:
        session = ray.nodes() and ray._private.worker._global_node.get_session_dir_path()
        ray.shutdown()
        if session:
            shutil.rmtree(session, ignore_errors=True)


def _start(root: Path, cpus: int) -> None:
    """Start the daemons; again, when another cluster of this machine took a port in between."""
    for is_last in (False, False, True):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(root),
            )
            _keep_quiet()
            return
        except Exception as error:  # Ray raises its bare self for daemons that are slow to start
            ray.shutdown()
            if is_last:
                raise FailedRun(f"Ray does not start: {' '.join(str(error).split())}") from error
            logger.warning("Ray did not start, and is tried again: %s", error)


def _sessions_folder() -> Path:
    """This user's folder for Ray's sessions, with those of dead drivers removed."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) > 20:  # socket paths below it would grow beyond 107 bytes
        root = Path("/tmp")
    root = root / f"s4sweep-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    for session in root.glob("session_*_*"):
        pid = session.name.rsplit("_", 1)[-1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(session, ignore_errors=True)
    return root
