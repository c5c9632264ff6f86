"""The endpoint is scraped over HTTP, by a real Prometheus where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sweep_folders
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dashboards.ports import any_port
from dashboards.prometheus import SWEEP, TRIAL, serve_metrics
from dashboards.server import answers

GRAFANA = Path(__file__).parents[2] / "dashboards" / "grafana"
FAMILIES = {*SWEEP, *TRIAL, "s4sweep_trials"}

# What Grafana needs of a dashboard that it is to import.
TARGET = {"type": "object", "required": ["refId", "expr"], "properties": {"expr": {"minLength": 1}}}
POSITION = {
    "type": "object",
    "properties": {"w": {"maximum": 24}, "x": {"maximum": 23}},
    "required": ["h", "w", "x", "y"],
    "additionalProperties": {"type": "integer", "minimum": 0},
}
PANEL = {
    "type": "object",
    "required": ["id", "title", "type", "gridPos", "targets", "datasource"],
    "properties": {
        "type": {"enum": ["timeseries", "stat", "gauge", "table"]},
        "gridPos": POSITION,
        "targets": {"type": "array", "minItems": 1, "items": TARGET},
    },
}
DASHBOARD = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time"],
    "properties": {
        "uid": {"type": "string", "maxLength": 40},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
    },
}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an endpoint over a sweep with two ended trials and one that runs."""
    home = tmp_path_factory.mktemp("home")
    folder = sweep_folders.make_sweep(home, trials=2)
    sweep_folders.start_trial(folder, 2)
    more = {"samples_per_s": 400.0, "peak_memory_mb": 310.0}
    for epoch in (1, 2):
        sweep_folders.add_epoch(folder, 2, epoch, **more)
    sweep_folders.drive(folder)
    port = any_port("127.0.0.1")
    server, thread = serve_metrics(home, port=port)
    yield f"127.0.0.1:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "sweeps.json").read_text())
    return found


def test_a_scrape_tells_how_the_sweep_stands(scraped: str) -> None:
    with urllib.request.urlopen(f"http://{scraped}/metrics") as response:
        families = {f.name: f for f in text_string_to_metric_families(response.read().decode())}
    assert set(families) == FAMILIES
    states = {s.labels["state"]: s.value for s in families["s4sweep_trials"].samples}
    assert (states["completed"], states["running"], states["failed"]) == (2, 1, 0)
    (best,) = families["s4sweep_best_objective"].samples
    assert best.labels == {"sweep": "demo", "metric": "val/accuracy"}
    assert best.value == pytest.approx(0.51)
    (epoch,) = families["s4sweep_epoch"].samples
    assert epoch.labels == {"sweep": "demo", "trial": "0002", "model": "s4d"}
    assert epoch.value == 2
    assert families["s4sweep_epoch_seconds"].samples[0].value == 9.0
    assert families["s4sweep_mlflow_lag_epochs"].samples[0].value == 10
    assert families["s4sweep_driven"].samples[0].value == 1


def test_grafana_can_import_the_dashboard() -> None:
    jsonschema.validate(dashboard(), DASHBOARD)
    panels = dashboard()["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = [
        (p["gridPos"]["x"] + i, p["gridPos"]["y"] + j)
        for p in panels
        for i in range(p["gridPos"]["w"])
        for j in range(p["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"


def test_the_dashboard_asks_for_series_that_there_are() -> None:
    asked = {
        name
        for panel in dashboard()["panels"]
        for target in panel["targets"]
        for name in re.findall(r"s4sweep_\w+", target["expr"])
    }
    assert asked == FAMILIES - {"s4sweep_epoch"}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus")
def test_a_real_prometheus_answers_every_panel(scraped: str, tmp_path: Path) -> None:
    config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [scraped]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = any_port("127.0.0.1")
    command = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}"]
    command += [
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not answers(f"{url}/-/ready") or not ask(url, "s4sweep_trials"):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.5)
        for panel in dashboard()["panels"]:
            for target in panel["targets"]:
                found = ask(url, target["expr"].replace("$sweep", ".*"))
                assert found or "ray_" in target["expr"], f"nothing to see in {panel['title']}"
    finally:
        process.terminate()
        process.wait()


def ask(url: str, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}") as response:
        found: list[Any] = json.load(response)["data"]["result"]
    return found
