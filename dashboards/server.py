"""The web servers of a home (MLflow, optuna-dashboard): found again or started, and stopped.

MLflow's defaults start 13 processes (four workers and a job runner, 1.9 GB); one worker without
jobs serves a person just as well with 350 MB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from dashboards.errors import ServerError
from dashboards.login import is_loopback, login_for
from dashboards.ports import choose_port
from dashboards.record import SweepRecord
from dashboards.store import SETTINGS, open_client, own_uri, public
from sweeps.files import read_json, write_json
from sweeps.hints import hint

LOOPBACK = "127.0.0.1"
PORT = 5000
READY_S = 180.0  # a cold start on a busy machine; 5-15 s is usual
STOP_S = 10.0
STATE = "mlflow-server.json"  # in the home
OPTUNA_STATE = "optuna-server.json"  # in the sweep's folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs: its address, and the process that leads its group.

    health: the URL that answers when it is well. started: the process's creation time, so that a
    reused pid is not taken for it. state: the file that lets others find it; gone when it is.
    allowed_hosts: the names, by commas, under which it may be asked for. store: the database that
    it shows, without its password.
    """

    url: str
    health: str
    pid: int
    started: float
    state: str
    allowed_hosts: str | None = None
    store: str | None = None
    process: subprocess.Popen[bytes] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )  # known to the one who started it

    def is_healthy(self) -> bool:
        """Whether it answers."""
        return answers(self.health)

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
        Path(self.state).unlink(missing_ok=True)


def find(state: Path) -> Server | None:
    """The server that wrote this file, if it runs and answers."""
    known = read_json(state)
    server = None if known is None else Server(**known)
    return server if server is not None and server.is_alive() and server.is_healthy() else None


def start(
    home: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    uri: str | None = None,
    allowed_hosts: str | None = None,
) -> Server:
    """Start MLflow's server for a home and return when it answers, or find the one that runs.

    host: None for 127.0.0.1. port: None for 5000 or, where that is taken, any free one. uri: the
    database, if it is not the home's own. allowed_hosts: the names under which it may be asked for,
    with ports, by commas (MLflow refuses other names; addresses are fine). Raises ServerError, also
    for a server that runs with other options than these.
    """
    state, store = Path(home) / STATE, uri or own_uri(home)
    found = find(state)
    if found is not None:
        options = {"allowed_hosts": allowed_hosts, "store": public(store)}
        return _as_asked(found, "--stop", host=host, port=port, **options)
    host = host or LOOPBACK
    port = choose_port(host, port, PORT)
    open_client(home, store)  # a fresh database is brought to its schema before the server opens it
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(Path(home).resolve() / "artifacts")]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", allowed_hosts] if allowed_hosts else []
    env = SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    login = login_for(host, Path(home))
    if login is not None:
        command += login.options
        env |= login.environment
    return launch(
        command,
        state=state,
        url=_url(host, port),
        health="/health",
        env=env,
        allowed_hosts=allowed_hosts,
        store=public(store),
    )


def _as_asked(
    up: Server, stop: str, *, host: str | None, port: int | None, **options: str | None
) -> Server:
    """The server that is up; raises ServerError if it was started with options other than these."""
    where = urlsplit(up.url)
    wanted = {"host": host, "port": port, **options}
    known = {"host": where.hostname, "port": where.port, **{k: getattr(up, k) for k in options}}
    if any(value not in (None, known[name]) for name, value in wanted.items()):
        raise ServerError(
            f"a server is up at {up.url}, with options of its own: "
            f"`{hint(f'dashboard {stop}')}`, and then start this one."
        )
    return up


def start_optuna(
    record: SweepRecord, *, host: str | None = None, port: int | None = None
) -> Server:
    """Start optuna-dashboard on a sweep's study, or find the one that runs; raises ServerError.

    It has no login of its own, so it should listen on the loopback address only. Of a study in a
    database, raises StudyError if the variable that holds its URL is not set.
    """
    if not is_loopback(host or LOOPBACK):
        raise ServerError(
            f"optuna-dashboard has no login: leave it on 127.0.0.1 and forward the port with ssh, "
            f"not {host}."
        )
    state = record.folder / OPTUNA_STATE
    found = find(state)
    if found is not None:
        return _as_asked(found, f"{record.name} --optuna --stop", host=host, port=port)
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ServerError(
            "optuna-dashboard is not installed: pip install 's4sweep[optuna-dashboard]'."
        )
    host = host or LOOPBACK
    port = choose_port(host, port, 8080)
    from sweeps.storage import resolved  # optuna, 1 s

    url = (read_json(record.folder / "spec.json") or {}).get("storage")
    place = str(record.folder / "study.journal") if url is None else resolved(url)
    # Through the environment: a URL may hold a password, and arguments are for all to see.
    program = "import os, sys; sys.argv.append(os.environ['S4SWEEP_STUDY']); "
    program += "from optuna_dashboard._cli import main; main()"
    command = [sys.executable, "-c", program, "--host", host, "--port", str(port)]
    env = {"S4SWEEP_STUDY": place}
    return launch(command, state=state, url=_url(host, port), health="/api/studies", env=env)


def launch(
    command: list[str],
    *,
    state: Path,
    url: str,
    health: str,
    env: Mapping[str, str],
    **options: str | None,
) -> Server:
    """Start a server in a session of its own and return when it answers; raises ServerError.

    options: further fields of Server.
    """
    log = state.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            cwd=state.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    known: dict[str, Any] = {
        "url": url,
        "health": url + health,
        "pid": process.pid,
        "started": psutil.Process(process.pid).create_time(),
        "state": str(state),
        **options,
    }
    write_json(state, known)
    server = Server(**known, process=process)
    try:
        _wait_until_healthy(server, process, log)
    except BaseException:  # Ctrl-C too: nobody would know of the server
        server.stop()
        raise
    return server


def _wait_until_healthy(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not server.is_healthy():
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines()
            said = f" It said: {words[-1]}" if words else ""
            raise ServerError(f"the server at {server.url} did not come up (see {log}).{said}")
        time.sleep(0.2)


@contextlib.contextmanager
def held(server: Server) -> Iterator[None]:
    """Let it serve inside the block, which Ctrl-C or SIGTERM end; it is gone afterwards."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def answers(url: str, timeout_s: float = 5.0) -> bool:
    """Whether a GET of the URL succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
