"""A real MLflow server that is killed, and comes back, or never was there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import sweep_folders

from dashboards import server
from dashboards.errors import StoreAway
from dashboards.ports import any_port
from dashboards.shipper import lag, start_shipper, sync
from dashboards.store import is_outage, open_client, public


def wait_for(holds: Any, what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)


def test_a_store_that_is_not_there_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    sweep_folders.make_sweep(tmp_path, trials=1)
    uri = f"http://127.0.0.1:{any_port('127.0.0.1')}"
    began = time.monotonic()
    with pytest.raises(StoreAway, match=f"^{uri} does not take it: [^\n]*$"):
        sync(tmp_path, "demo", uri)
    assert time.monotonic() - began < 30  # MLflow's own retries would block for minutes
    assert lag(tmp_path, "demo", uri).lines == 4


def test_the_password_of_a_store_is_not_written_down(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=1)
    port = any_port("127.0.0.1")
    uri = f"http://somebody:secret@127.0.0.1:{port}"
    with pytest.raises(StoreAway) as raised:
        sync(tmp_path, "demo", uri)
    assert public(uri) == f"http://127.0.0.1:{port}"
    written = "".join(p.read_text() for p in folder.glob("ship.json"))
    assert "secret" not in written + str(raised.value)


def test_what_may_pass_is_told_from_what_will_not() -> None:
    from mlflow.exceptions import MlflowException

    assert is_outage(MlflowException("down"))
    assert is_outage(ConnectionRefusedError())
    assert not is_outage(MlflowException.invalid_parameter_value("no"))
    assert not is_outage(KeyError("a bug"))


@pytest.mark.slow
def test_a_killed_server_is_waited_for_and_gets_everything_once(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The sweep goes on while the store is away, and the store has all of it in the end."""
    folder = sweep_folders.make_sweep(home, trials=0)
    sweep_folders.drive(folder)
    elsewhere = tmp_path_factory.mktemp("server")
    shutil.copy(home / "mlflow.db", elsewhere)
    running = server.start(elsewhere)
    port = int(running.url.rsplit(":", 1)[1])
    process = start_shipper(home, "demo", running.url)
    try:
        sweep_folders.start_trial(folder, 0)
        sweep_folders.add_epoch(folder, 0, 1)
        shipped = folder / "ship.json"
        wait_for(lambda: shipped.exists() and not lag(home, "demo", running.url).lines, "epoch 1")
        for victim in psutil.Process(running.pid).children(recursive=True):
            victim.kill()
        psutil.Process(running.pid).kill()
        running.stop()
        for epoch in (2, 3):
            sweep_folders.add_epoch(folder, 0, epoch)
        wait_for(lambda: lag(home, "demo", running.url).error, "the outage to be noted")
        assert lag(home, "demo", running.url).lines == 2
        running = server.start(elsewhere, port=port)
        sweep_folders.add_epoch(folder, 0, 4)
        sweep_folders.end_trial(folder, 0)
        (folder / "lock.json").unlink()
        assert process.wait(timeout=180) == 0, (folder / "shipper.log").read_text()
        assert lag(home, "demo", running.url).error is None
        client = open_client(home, running.url)
        experiment = client.get_experiment_by_name("demo").experiment_id
        found = {r.info.run_name: r for r in client.search_runs([experiment])}
        run = found["0000"].info.run_id
        points = client.get_metric_history(run, "val/accuracy")
        assert [p.step for p in points] == [1, 2, 3, 4]
        assert found["0000"].info.status == "FINISHED"
        paths = {a.path for a in client.list_artifacts(run)}
        assert paths == {"spec.json", "checkpoint"}
    finally:
        running.stop()
        process.kill()
        process.wait()
