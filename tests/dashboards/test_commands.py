"""The verbs that show: `report`, `sync`, `dashboard`, `metrics`."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
import sweep_folders

from cluster.cli import main
from dashboards import server
from dashboards.ports import any_port
from dashboards.store import open_client, own_uri


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("S4SWEEP_HOME", str(home))
    return home


def test_report_prints_where_it_wrote(
    at_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folders.make_sweep(at_home)
    (folder / "trials" / "0002" / "best.pt").unlink()
    assert main(["report", "demo"]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    wanted = tmp_path / "elsewhere.html"
    assert main(["report", "demo", "-o", str(wanted)]) == 0
    assert "<title>demo</title>" in wanted.read_text()


def test_sync_sends_every_sweep_of_the_home(
    at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        sweep_folders.make_sweep(at_home, name, trials=1)
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == (
        "one: 4 epochs sent to MLflow experiment 1\ntwo: 4 epochs sent to MLflow experiment 2\n"
    )
    assert {e.name for e in open_client(at_home).search_experiments()} >= {"one", "two"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nothing"], "no sweep 'nothing': choose from demo."),
        (["sync", "nothing"], "no sweep 'nothing': choose from demo."),
        (["dashboard", "nothing"], "no sweep 'nothing': choose from demo."),
        (["dashboard", "--optuna"], "--optuna shows one sweep: s4sweep dashboard --optuna NAME."),
        (["register", "demo"], "trial 2 of sweep 'demo' has no best.pt."),
    ],
)
def test_mistakes_are_one_line(
    at_home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    folder = sweep_folders.make_sweep(at_home)
    (folder / "trials" / "0002" / "best.pt").unlink()
    assert main(words) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert said in written.err
    assert written.err.count("\n") == 1


def test_a_server_that_others_run_is_printed_and_not_started(
    at_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.lab:5000")
    folder = sweep_folders.make_sweep(at_home)
    known = {"http://mlflow.lab:5000": {"experiment_id": "7", "view": "x", "trials": {}}}
    known["http://mlflow.lab:5000"]["ship_id"] = "1"
    (folder / "ship.json").write_text(json.dumps(known))
    assert main(["dashboard", "demo"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("http://mlflow.lab:5000/#/experiments/7/runs?")
    assert not (at_home / "mlflow-server.json").exists()


@pytest.mark.parametrize(
    ("words", "is_refused"),
    [
        ([], False),
        (["--host", "127.0.0.1", "--port", "{port}"], False),
        (["--host", "0.0.0.0"], True),
        (["--port", "1"], True),
        (["--allowed-hosts", "lab"], True),
    ],
)
def test_a_server_that_is_up_is_not_taken_for_one_with_other_options(
    at_home: Path, capsys: pytest.CaptureFixture[str], words: list[str], is_refused: bool
) -> None:
    """A plain server of files stands in for MLflow's, which takes seconds to start."""
    port = any_port("127.0.0.1")
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    url = f"http://127.0.0.1:{port}"
    state, shown = at_home / server.STATE, own_uri(at_home)
    running = server.launch(command, state=state, url=url, health="/", env={}, store=shown)
    try:
        status = main(["dashboard", *(w.format(port=port) for w in words)])
    finally:
        running.stop()
    written = capsys.readouterr()
    assert status == (2 if is_refused else 0)
    said = f"a server is up at {url}, with options of its own" if is_refused else url
    assert said in (written.err if is_refused else written.out)
    assert "log in as" not in written.out


def test_stopping_what_is_not_up_says_so(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--stop"]) == 0
    assert capsys.readouterr().out == "no server was up.\n"


def test_a_taken_port_of_metrics_is_one_line(
    at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["metrics", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: " in capsys.readouterr().err


def test_a_cluster_whose_dashboard_is_away_is_one_line(
    at_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4SWEEP_ADDRESS", f"http://127.0.0.1:{any_port('127.0.0.1')}")
    assert main(["dashboard", "--ray"]) == 2
    said = capsys.readouterr().err
    assert "no Ray dashboard answers at http://127.0.0.1:" in said and said.count("\n") == 1
