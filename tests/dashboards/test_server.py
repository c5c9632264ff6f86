"""A real MLflow server, started once for all tests of this file, and stopped without a trace."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sweep_folders

from dashboards import server
from dashboards.errors import ServerError
from dashboards.ports import any_port
from dashboards.record import SweepRecord
from dashboards.shipper import sync


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[server.Server]:
    home = tmp_path_factory.mktemp("served")
    shutil.copy(database, home / "mlflow.db")
    sweep_folders.make_sweep(home, trials=1)
    sync(home, "demo")
    running = server.start(home)
    yield running
    group = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    running.stop()
    assert not [p for p in group if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert server.find(home / server.STATE) is None
    assert not (home / server.STATE).exists()


def test_two_processes_serve_on_the_loopback_address(served: server.Server) -> None:
    group = [psutil.Process(served.pid), *psutil.Process(served.pid).children(recursive=True)]
    assert len(group) == 2
    listening = {c.laddr.ip for p in group for c in p.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_it_shows_what_was_shipped_and_serves_the_artifacts(served: server.Server) -> None:
    api = f"{served.url}/api/2.0/mlflow"
    body = json.dumps({"experiment_ids": ["1"], "filter": "tags.trial = '0'"}).encode()
    request = urllib.request.Request(
        f"{api}/runs/search", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        run = json.load(response)["runs"][0]["info"]
    assert run["run_name"] == "0000"
    artifact = f"{served.url}/get-artifact?path=spec.json&run_uuid={run['run_id']}"
    with urllib.request.urlopen(artifact) as response:
        assert json.load(response)["number"] == 0


def test_a_second_start_finds_the_first(served: server.Server) -> None:
    assert server.start(Path(served.state).parent) == served


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"port": 1},
        {"allowed_hosts": "lab"},
        {"uri": "postgresql://anna:pa55@lab/mlflow"},
    ],
)
def test_a_second_start_with_other_options_is_refused(
    served: server.Server, options: dict[str, Any]
) -> None:
    """Before, it handed back the first one, which shows another store or listens elsewhere."""
    with pytest.raises(ServerError, match=f"a server is up at {served.url}, with options of its"):
        server.start(Path(served.state).parent, **options)


def test_a_taken_port_is_refused_and_without_one_another_is_chosen(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 is taken"):
            server.start(home, port=port)
        assert any_port("127.0.0.1") != port


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    (home / "artifacts").write_text("a file in the way")
    with pytest.raises((ServerError, OSError)):
        server.start(home, uri=f"sqlite:///{home}/artifacts/mlflow.db")
    assert server.find(home / server.STATE) is None


@pytest.mark.parametrize("storage", ["", "storage: {env: THE_DATABASE}\n"])
def test_optuna_dashboard_shows_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    """On the journal or the database of a real study; `sweeps` makes it, as a sweep does."""
    from sweeps import Study, load_spec

    monkeypatch.setenv("THE_DATABASE", f"sqlite:///{tmp_path}/studies.db")
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: seen\ndata: {name: listops}\nmodel: {name: s4d}\n"
        "train: {lr: {log_uniform: [0.001, 0.01]}}\nsearch: {trials: 2, sampler: random}\n"
        + storage
    )
    study = Study.create(load_spec(path), tmp_path)
    study.ask()
    running = server.start_optuna(SweepRecord.of(tmp_path, "seen"))
    try:
        with urllib.request.urlopen(f"{running.url}/api/studies") as response:
            studies = json.load(response)["study_summaries"]
        assert [study["study_name"] for study in studies] == ["seen"]
    finally:
        running.stop()
    assert not running.is_alive()


@pytest.mark.parametrize("moment", ["while it starts", "as soon as it has said where"])
def test_ctrl_c_leaves_no_server_behind(home: Path, moment: str) -> None:
    state = home / server.STATE
    command = [sys.executable, "-m", "cluster.cli", "--home", str(home), "dashboard"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        if moment == "while it starts":
            while not state.exists():
                assert process.poll() is None
                time.sleep(0.05)
        else:
            assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        (started,) = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
    # A busy machine may send the signal after the server has come up.
    assert process.returncode in ((130, 0) if moment == "while it starts" else (0,))
    assert not started.is_running()
    assert not state.exists()
