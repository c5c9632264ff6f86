"""Figures of the best model: impulse responses, poles, and where it errs on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dashboards.report.evidence import Evidence, Trial
from dashboards.report.shapes import COLOURS, Figure

SECTION = "The best model"
SYSTEMS = 4  # of a deep model, evenly from the first layer to the last
LINES = 6  # features whose impulse response is drawn
PATIENCE_S = 20.0  # with the test split; a long one is not read to its end for one figure
POINTS = 300  # of an impulse response, at logarithmic distances


class NotDrawn(Exception):
    """Why the best model cannot be looked into, for the reader of the report."""


def best_model(evidence: Evidence, home: Path, folder: Path) -> list[Figure]:
    """Look into best.pt of the best trial, kept in `folder`; raises NotDrawn."""
    from data_prep import DataError
    from s4core import CheckpointError

    best = evidence.best
    if best is None or not (folder / "best.pt").exists():
        return []
    try:
        return [*_systems(folder), *_confusion(best, home, folder)]
    except (CheckpointError, DataError, OSError, ValueError) as error:
        raise NotDrawn(f"trial {best.number} cannot be looked into: {error}") from error


def _systems(folder: Path) -> list[Figure]:
    from s4core.inspect import portraits

    found = portraits(folder)
    shown = sorted({round(i) for i in np.linspace(0, len(found) - 1, min(len(found), SYSTEMS))})
    figures = []
    for i in shown:
        layer = f"layer {i + 1} of {len(found)}"
        figures.append(_kernel(layer, found[i].kernel))
        if found[i].poles.size:
            figures.append(_poles(layer, found[i].poles))
    return figures


def _kernel(layer: str, kernel: Any) -> Figure:
    length = kernel.shape[1]
    lags = np.unique(np.geomspace(1, length, POINTS).round().astype(int)) - 1
    features = np.unique(np.linspace(0, len(kernel) - 1, LINES).round().astype(int))
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"feature {feature}",
            "x": (lags + 1).tolist(),
            "y": kernel[feature, lags].tolist(),
            "line": {"width": 1.5, "color": COLOURS[i % len(COLOURS)]},
        }
        for i, feature in enumerate(features)
    ]
    layout = {
        "xaxis": {"type": "log", "title": {"text": "steps since the impulse"}},
        "yaxis": {"title": {"text": "response"}},
        "showlegend": False,
    }
    return Figure(
        section=SECTION,
        title=f"Impulse response, {layer}",
        traces=traces,
        layout=layout,
        height=340,
        wide=False,
    )


def _poles(layer: str, poles: Any) -> Figure:
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = {"x": np.cos(turn).tolist(), "y": np.sin(turn).tolist(), "mode": "lines"}
    traces = [
        {
            **circle,
            "type": "scatter",
            "line": {"color": "#9498a0", "width": 1},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": poles.real.ravel().tolist(),
            "y": poles.imag.ravel().tolist(),
            "marker": {"size": 5, "opacity": 0.6, "color": COLOURS[0]},
            "hovertemplate": "%{x:.4f} %{y:+.4f}i<extra></extra>",
        },
    ]
    layout = {
        "xaxis": {"title": {"text": "real"}, "range": [-1.1, 1.1]},
        "yaxis": {"title": {"text": "imaginary"}, "scaleanchor": "x", "range": [-1.1, 1.1]},
        "showlegend": False,
    }
    return Figure(
        section=SECTION,
        title=f"Poles of a step, {layer}",
        traces=traces,
        layout=layout,
        height=340,
        wide=False,
    )


def _confusion(best: Trial, home: Path, folder: Path) -> list[Figure]:
    from s4core.inspect import confusion
    from sweeps.trial import open_data

    data = open_data(best.spec, home)
    if data.task.target != "class" or "test" not in data.splits:
        return []
    counts = confusion(folder, data, "test", batch_size=20, seconds=PATIENCE_S)
    right = np.trace(counts) / max(1, counts.sum())
    seen, rows = int(counts.sum()), data.splits["test"].rows
    whole = f"{rows} examples" if seen == rows else f"the first {seen} of {rows} examples"
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    names = [str(i) for i in range(len(counts))]
    heat: dict[str, Any] = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": share.tolist(),
        "text": counts.tolist(),
        "colorscale": [[0, "rgba(66,105,208,0.03)"], [1, "#4269d0"]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "class %{y} taken for %{x}: %{text}<extra></extra>",
    }
    if len(counts) <= 20:
        heat["texttemplate"] = "%{text}"
    layout = {
        "xaxis": {"title": {"text": "said"}, "type": "category"},
        "yaxis": {"title": {"text": "true"}, "type": "category", "autorange": "reversed"},
    }
    note = f"{whole} of the test split, {right:.2%} right."
    return [
        Figure(
            section=SECTION,
            title=f"Confusion on test, trial {best.number}",
            traces=[heat],
            layout=layout,
            note=note,
            height=460,
        )
    ]
