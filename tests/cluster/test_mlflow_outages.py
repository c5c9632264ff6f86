"""MLflow is away while a real driver runs its sweep: for a minute, from the start, for ever."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import Driver, start, wait_for_shipper
from engine_contract import check_record, check_tracked, tiny

from dashboards import server
from dashboards.ports import any_port
from dashboards.shipper import lag, sync

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


def test_mlflow_is_away_from_the_start_and_for_ever(
    tmp_path: Path, store: Path, database: Path
) -> None:
    """The sweep is whole without it; another store is filled from the files; then it comes up."""
    sweep(tmp_path, delay_s=0.02)
    uri = f"http://127.0.0.1:{any_port('127.0.0.1')}"
    with run(tmp_path, uri) as driver:
        assert driver.wait() == 0, driver.error
        assert f"`s4sweep sync tiny --home {tmp_path}` helps" in driver.error
    check_record(tmp_path, "tiny", trials=4)
    with Driver(tmp_path, "status", "tiny", "--tracking-uri", uri, "--json") as status:
        assert status.wait() == 0
    assert lag(tmp_path, "tiny", uri).lines == 24
    # For ever: the shipper is given up, and the store of the home takes its place.
    shipper = shipper_of(tmp_path)
    shipper.kill()
    shipper.wait(timeout=30)
    shutil.copy(database, tmp_path)
    sync(tmp_path, "tiny")
    check_tracked(tmp_path, "tiny")
    with serving(store, port_of(uri)):
        sync(tmp_path, "tiny", uri)
        check_tracked(tmp_path, "tiny", uri)
    kept = json.loads((tmp_path / "sweeps/tiny/ship.json").read_text())
    assert len(kept) == 2, "one account for each store"


def shipper_of(home: Path) -> psutil.Process:
    """The process that ships the sweep of a home."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "dashboards.shipper" in words and str(home) in words:
            return process
    raise LookupError(f"no shipper for {home}")
