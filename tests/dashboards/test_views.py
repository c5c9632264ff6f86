from __future__ import annotations

from pathlib import Path

import pytest
import sweep_folders

from dashboards import views
from dashboards.record import SweepRecord
from dashboards.runs import chosen, params
from dashboards.shipper import sync
from dashboards.store import open_client
from sweeps.types import Objective


def test_a_view_survives_its_encoding() -> None:
    view = {"compareRunCharts": [{"type": "LINE"}], "x": 1.5}
    assert views.decode(views.encode(view)) == view


def test_the_charts_are_of_what_the_search_chose(tmp_path: Path) -> None:
    record = SweepRecord(sweep_folders.make_sweep(tmp_path))
    specs = [spec for trial in record.trials() if (spec := trial.spec())]
    assert chosen(specs[0]) == {"model.init": "lin", "train.lr": 0.001}
    view = views.state(specs, Objective())
    charts = {(c["type"], c["displayName"]): c for c in view["compareRunCharts"]}
    parallel = charts["PARALLEL", "What the search chose"]
    assert parallel["selectedParams"] == ["model.init", "train.lr"]
    assert parallel["selectedMetrics"] == ["best/val/accuracy"]
    assert set(parallel["selectedParams"]) <= params(specs[0]).keys()
    assert ("SCATTER", "best/val/accuracy over train.lr") in charts
    assert ("SCATTER", "best/val/accuracy over model.init") not in charts
    assert ("LINE", "val/accuracy by epoch") in charts


def test_the_experiment_carries_the_view(home: Path) -> None:
    sweep_folders.make_sweep(home)
    experiment = open_client(home).get_experiment(sync(home, "demo"))
    view = views.decode(experiment.tags[views.TAG])
    assert view["compareRunSections"][0]["name"] == "Sweep"


def test_an_unknown_mlflow_gets_the_plain_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "mlflow_version", lambda uri: "99.0")
    sweep_folders.make_sweep(home)
    experiment = open_client(home).get_experiment(sync(home, "demo"))
    assert views.TAG not in experiment.tags
    assert views.url("http://h:1", "7", has_view=False) == (
        "http://h:1/#/experiments/7/runs?workflowType=machine_learning"
    )
