"""The charts of a sweep on MLflow's experiment page, set up by code.

MLflow keeps what a page shows in the browser, but a "shared view" is a tag of the experiment: the
page's state as JSON, deflated, in base64, opened by its key in the URL. The format is not
documented, so it is written only for versions for which it was seen to work (a test opens it in a
real browser); for others the plain page is the answer.
"""

from __future__ import annotations

import base64
import json
import urllib.request
import zlib
from collections.abc import Iterable
from typing import Any

from dashboards import runs, ship_state
from dashboards.record import SweepRecord
from dashboards.sender import Sender
from dashboards.store import own_uri
from sweeps.types import Objective, TrialSpec

KNOWN = ("3.17.",)  # versions of MLflow whose page understands the state below
KEY = "sweep"
TAG = f"mlflow.sharedViewState.{KEY}"
TAG_CHARS = 5000
RUNS = 100  # shown in each chart; MLflow's own default is 10


def send(sender: Sender, goal: Objective) -> None:
    """Set the view of the sweep's experiment, if the store's MLflow understands it."""
    version = sender.shipped.server_version or mlflow_version(sender.uri)
    sender.shipped.server_version = version
    if not version.startswith(KNOWN):
        return
    shipped = [t for t in sender.record.trials() if t.number in sender.shipped.trials]
    specs = [spec for spec in (t.spec() for t in shipped) if spec is not None]
    tag = encode(state(specs, goal))
    if tag != sender.shipped.view and len(tag) <= TAG_CHARS:
        sender.client.set_experiment_tag(sender.experiment_id, TAG, tag)
        sender.shipped.view = tag


def url(server: str, experiment_id: str, *, has_view: bool) -> str:
    """The address of the sweep's page: with its charts if there is a view, else the plain page."""
    page = f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{page}&viewStateShareKey={KEY}&compareRunsMode=CHART" if has_view else page


def page(server: str, record: SweepRecord) -> str:
    """The address of a sweep's page on a server, as far as the sweep has been shipped to it."""
    for uri in (server, own_uri(record.home)):
        shipped = ship_state.load(record, uri)
        if shipped.experiment_id is not None:
            return url(server, shipped.experiment_id, has_view=shipped.view is not None)
    return server


def mlflow_version(uri: str) -> str:
    """The version of the MLflow that shows the store: a server's own, or the one installed here."""
    if uri.startswith("http"):
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=10) as response:
            return str(response.read().decode())
    import mlflow

    return str(mlflow.__version__)


def encode(view: dict[str, Any]) -> str:
    """A page's state as the value of a shared view's tag."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(view).encode(), 9)).decode()


def decode(tag: str) -> dict[str, Any]:
    """The inverse of `encode`."""
    view: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(tag.split(";", 1)[1])))
    return view


def state(specs: Iterable[TrialSpec], goal: Objective) -> dict[str, Any]:
    """The page's state: which columns the table has, and which charts there are."""
    specs = list(specs)
    numbers, names = _searched(specs)
    # Parallel coordinates leave out the runs that lack one of the parameters.
    shared = sorted(n for n in numbers | names if all(n in runs.chosen(s) for s in specs))
    best = f"best/{goal.metric}"
    section = "sweep"
    charts = [_line("sweep/best", "Best so far, by trials ended")]
    if shared:
        charts.append(
            {
                "type": "PARALLEL",
                "selectedParams": shared,
                "selectedMetrics": [best],
                "showAllRuns": False,
                "displayName": "What the search chose",
            }
        )
    charts.append(_line(goal.metric, f"{goal.metric} by epoch"))
    charts += [
        {
            "type": "SCATTER",
            "xaxis": {"key": name, "type": "PARAM"},
            "yaxis": {"key": best, "type": "METRIC"},
            "displayName": f"{best} over {name}",
        }
        for name in sorted(numbers)
    ]
    charts += [_line(name, f"{name} by epoch") for name in ("train/loss", "val/loss", "lr")]
    for i, chart in enumerate(charts):
        chart |= {"uuid": f"{section}-{i}", "metricSectionId": section, "runsCountToCompare": RUNS}
        chart |= {"deleted": False, "isGenerated": False}
    sections = {section: "Sweep", "model": "Model metrics", "system": "System metrics"}
    columns = [f"metrics.`{best}`", "tags.`state`", "tags.`model`", "attributes.`Duration`"]
    return {
        "selectedColumns": columns + [f"params.`{n}`" for n in sorted(numbers | names)],
        "runsHiddenMode": "SHOW_ALL",
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": False, "columns": 3}
            for uuid, name in sections.items()
        ],
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "hideEmptyCharts": True,
        "viewMaximized": False,
        "runListHidden": False,
    }


def _line(metric: str, title: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "lineSmoothness": 0,
        "displayName": title,
    }


def _searched(specs: Iterable[TrialSpec]) -> tuple[set[str], set[str]]:
    """The names of the parameters that the search chose: of numbers, and of anything else."""
    numbers: set[str] = set()
    names: set[str] = set()
    for spec in specs:
        for name, value in runs.chosen(spec).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            (numbers if is_number else names).add(name)
    return numbers - names, names
