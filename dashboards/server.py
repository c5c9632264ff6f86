"""The MLflow web server of a home: two processes on 127.0.0.1, found again or started, and stopped.

MLflow's defaults start 13 processes (four workers and a job runner, 1.9 GB); one worker without
jobs serves a person just as well with 350 MB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from dashboards.errors import ServerError
from dashboards.store import SETTINGS, open_client, own_uri
from sweeps.files import read_json, write_json

PORT = 5000
READY_S = 180.0  # a cold start on a busy machine; 5-15 s is usual
STOP_S = 10.0
FILE = "mlflow-server.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs: its address and the process that leads its group."""

    url: str
    pid: int
    started: float  # the process's creation time, so that a reused pid is not taken for it
    home: str
    process: subprocess.Popen[bytes] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )  # known to the one who started it

    def is_healthy(self) -> bool:
        """Whether it answers."""
        return answers(f"{self.url}/health")

    def is_alive(self) -> bool:
        """Whether its process is there."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return bool(
                abs(process.create_time() - self.started) < 1.0
                and process.status() != psutil.STATUS_ZOMBIE
            )
        return False

    def wait(self) -> None:
        """Return when it has ended."""
        while self.is_alive():
            time.sleep(0.5)

    def stop(self) -> None:
        """End it and its workers: politely, and after 10 s at once."""
        if self.is_alive():
            group = [psutil.Process(self.pid)]
            group += group[0].children(recursive=True)
            for process in group:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGTERM)
            _, left = psutil.wait_procs(group, timeout=STOP_S)
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=STOP_S)
        if self.process is not None:
            self.process.wait()
        (Path(self.home) / FILE).unlink(missing_ok=True)


def find(home: Path) -> Server | None:
    """The server of this home, if one runs and answers."""
    known = read_json(Path(home) / FILE)
    server = None if known is None else Server(**known)
    return server if server is not None and server.is_alive() and server.is_healthy() else None


def start(
    home: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    uri: str | None = None,
    allowed_hosts: str | None = None,
) -> Server:
    """Start a server and return when it answers; find the one that runs instead, if there is one.

    port: None for 5000 or, where that is taken, any free one. allowed_hosts: the names under which
    it may be asked for, with ports, by commas (MLflow refuses other names; addresses are fine).
    Raises ServerError.
    """
    found = find(home)
    if found is not None:
        return found
    if port is not None and not is_free(host, port):
        raise ServerError(f"port {port} of {host} is taken; give another with --port.")
    port = port or (PORT if is_free(host, PORT) else any_port(host))
    open_client(
        home, uri or own_uri(home)
    )  # a fresh database is brought to its schema before the server opens it
    log = Path(home) / "mlflow-server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            _command(home, uri or own_uri(home), host, port, allowed_hosts),
            env=os.environ | SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    name = f"[{host}]" if ":" in host else host
    server = Server(
        url=f"http://{name}:{port}",
        pid=process.pid,
        started=psutil.Process(process.pid).create_time(),
        home=str(home),
        process=process,
    )
    known = {"url": server.url, "pid": server.pid, "started": server.started, "home": server.home}
    write_json(Path(home) / FILE, known)
    _wait_until_ready(server, process, log)
    return server


def hold(server: Server) -> int:
    """Let it serve until Ctrl-C or SIGTERM; it is gone when this returns."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    return 0


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _command(home: Path, uri: str, host: str, port: int, allowed_hosts: str | None) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(Path(home).resolve() / "artifacts")]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    return command + (["--allowed-hosts", allowed_hosts] if allowed_hosts else [])


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not server.is_healthy():
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            words = log.read_text(errors="replace").strip().splitlines()
            said = f" It said: {words[-1]}" if words else ""
            raise ServerError(f"MLflow's server did not come up (see {log}).{said}")
        time.sleep(0.2)


def answers(url: str, timeout_s: float = 5.0) -> bool:
    """Whether a GET of the URL succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens on the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def any_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
