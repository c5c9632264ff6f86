"""MLflow is away for a minute while a real driver runs its sweep."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import Driver, start, wait_for_shipper
from engine_contract import check_record, tiny

from dashboards import server
from dashboards.shipper import lag

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OUTAGE_S = 60.0


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    """The folder of a server that knows no sweep yet."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(database, folder)
    return folder


@contextlib.contextmanager
def serving(store: Path, port: int | None = None) -> Iterator[server.Server]:
    """MLflow's own server, as `s4sweep dashboard` starts it."""
    running = server.start(store, port=port)
    try:
        yield running
    finally:
        running.stop()


def sweep(home: Path, delay_s: float) -> None:
    """Write a sweep of four trials of six epochs, of which none may fail."""
    model = {"name": "lab.faulty", "delay_s": delay_s}
    search = {"trials": 4, "max_failures": 0}
    tiny(home, model=model, train={"epochs": 6}, search=search, resources={"concurrent": 2})


def run(home: Path, uri: str) -> Driver:
    return start(home, "--tracking-uri", uri, options=("--json", "--no-test"))


def kill(running: server.Server) -> None:
    """SIGKILL of the server and its workers."""
    main = psutil.Process(running.pid)
    for process in [main, *main.children(recursive=True)]:
        process.kill()
    running.stop()


def port_of(uri: str) -> int:
    return int(uri.rsplit(":", 1)[1])


def test_mlflow_is_down_for_a_minute_in_mid_sweep(tmp_path: Path, store: Path) -> None:
    """The sweep ends in the meantime; its shipper stays, and sends what is missing, once."""
    sweep(tmp_path, delay_s=0.5)
    with serving(store) as first:
        with run(tmp_path, first.url) as driver:
            shipped = tmp_path / "sweeps/tiny/ship.json"
            driver.until(lambda events: shipped.exists() and '"epoch": 1' in shipped.read_text())
            kill(first)
            killed = time.monotonic()
            assert driver.wait() == 0, driver.error
        missing = lag(tmp_path, "tiny", first.url)
        assert missing.lines > 0
        assert missing.error is not None
        check_record(tmp_path, "tiny", trials=4)
        time.sleep(max(0.0, killed + OUTAGE_S - time.monotonic()))
        with serving(store, port_of(first.url)):
            wait_for_shipper(tmp_path, first.url)
            check_record(tmp_path, "tiny", trials=4, uri=first.url, tracked=True)
