"""Figures of the search: history, importance, parallel coordinates, slices, contour, Pareto."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from dashboards.leaderboard import value
from dashboards.report.evidence import Evidence, Trial
from dashboards.report.shapes import Figure, axis, is_number, label, points, whole
from sweeps.importance import Importance, importances
from sweeps.plural import plural

SECTION = "The search"
SLICES = 8  # the most important parameters get a slice


def rate(evidence: Evidence) -> list[Importance]:
    """How much each parameter mattered; [] while too few trials say anything."""
    scored = [t for t in evidence.scored if math.isfinite(t.result.value or 0.0)]
    rows = [{name: label(item) for name, item in t.chosen.items()} for t in scored]
    return importances(rows, [float(t.result.value or 0.0) for t in scored], logs=evidence.logs)


def history(evidence: Evidence) -> list[Figure]:
    """What each trial came to, and the best so far in the order of their numbers."""
    scored = evidence.scored
    if not scored:
        return []
    traces = points(evidence, scored, _numbers(scored), [t.result.value for t in scored])
    best: list[float] = []
    for trial in scored:
        value_here = float(trial.result.value or 0.0)
        better = evidence.objective.is_better(value_here, best[-1] if best else None)
        best.append(value_here if better else best[-1])
    line = {"shape": "hv", "width": 2, "color": "#9498a0"}
    front = {"type": "scatter", "mode": "lines", "name": "best so far", "line": line}
    traces.append(front | {"x": _numbers(scored), "y": best, "hoverinfo": "skip"})
    layout = {
        "xaxis": whole("trial", scored[-1].number),
        "yaxis": {"title": {"text": evidence.objective.metric}},
    }
    note = "Circles ran all their epochs, squares ran out of patience, crosses were pruned."
    return [Figure(section=SECTION, title="History", traces=traces, layout=layout, note=note)]


def importance(rated: Sequence[Importance]) -> list[Figure]:
    """Bars with the spread over resampled trials."""
    if not rated:
        return []
    shown = list(reversed(rated[:15]))
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": [item.name for item in shown],
        "x": [item.share for item in shown],
        "error_x": {"type": "data", "array": [item.spread for item in shown], "color": "#9498a0"},
        "text": [plural(item.trials, "trial") for item in shown],
        "hovertemplate": "%{y}: %{x:.2f} of the variance, among %{text}<extra></extra>",
        "textposition": "none",
        "marker": {"color": "#4269d0"},
    }
    layout = {
        "xaxis": {"title": {"text": "share of the variance"}, "rangemode": "tozero"},
        "yaxis": {"automargin": True},
        "showlegend": False,
    }
    note = (
        "Variance of the objective that a parameter explains alone (fANOVA); the lines are one "
        "standard deviation over resampled trials. Where they are long, the trials do not tell."
    )
    height = 120 + 34 * len(shown)
    return [
        Figure(
            section=SECTION,
            title="What mattered",
            traces=[bar],
            layout=layout,
            note=note,
            height=height,
            wide=False,
        )
    ]


def parallel(evidence: Evidence) -> list[Figure]:
    """Every trial as a line through what was chosen for it, coloured by what it came to."""
    scored = evidence.scored
    if len(scored) < 2 or not evidence.names:
        return []
    values = [float(t.result.value or 0.0) for t in scored]
    goal: dict[str, Any] = {"label": evidence.objective.metric, "values": values}
    dimensions = [goal]
    for name in evidence.names[:12]:
        dimensions.append(_dimension(evidence, name, [t.chosen.get(name) for t in scored]))
    scale = "Viridis"
    line = {"color": values, "colorscale": scale, "showscale": True}
    line["reversescale"] = evidence.objective.mode == "min"
    trace = {"type": "parcoords", "dimensions": dimensions, "line": line}
    trace["meta"] = {"trials": _numbers(scored)}
    note = "Drag along an axis to keep only the trials that pass there."
    layout = {"margin": {"l": 70, "r": 40, "t": 50, "b": 30}}
    return [
        Figure(
            section=SECTION, title="Parallel coordinates", traces=[trace], layout=layout, note=note
        )
    ]


def _dimension(evidence: Evidence, name: str, items: list[Any]) -> dict[str, Any]:
    """An axis of parallel coordinates; trials without the parameter pass at its foot."""
    there = [item for item in items if item is not None]
    missing = len(there) < len(items)
    if all(is_number(item) for item in there):
        log = axis(evidence, name, items)["type"] == "log"
        scaled = [None if i is None else math.log10(i) if log else float(i) for i in items]
        low, high = (f(s for s in scaled if s is not None) for f in (min, max))
        foot = low - 0.12 * ((high - low) or 1.0)
        ticks = sorted({low + (high - low) * k / 4 for k in range(5)})
        texts = [f"{10**t if log else t:.3g}" for t in ticks]
        if missing:
            ticks, texts = [foot, *ticks], ["none", *texts]
        values = [foot if s is None else s for s in scaled]
        return {"label": name, "values": values, "tickvals": ticks, "ticktext": texts}
    names = sorted({"none" if item is None else str(item) for item in items})
    values = [float(names.index("none" if item is None else str(item))) for item in items]
    ticks = [float(i) for i in range(len(names))]
    return {"label": name, "values": values, "tickvals": ticks, "ticktext": names}


def slices(evidence: Evidence, rated: Sequence[Importance]) -> list[Figure]:
    """The objective over each parameter, the most important ones first."""
    scored = evidence.scored
    order = [item.name for item in rated]
    names = [n for n in order if n in evidence.names]
    figures = []
    for name in names[:SLICES]:
        items = [label(t.chosen.get(name)) for t in scored]
        traces = points(evidence, scored, items, [t.result.value for t in scored])
        layout = {
            "xaxis": axis(evidence, name, items),
            "yaxis": {"title": {"text": evidence.objective.metric}},
            "showlegend": False,
        }
        title = f"Slice: {name}"
        figures.append(
            Figure(
                section=SECTION, title=title, traces=traces, layout=layout, height=320, wide=False
            )
        )
    return figures


def contour(evidence: Evidence, rated: Sequence[Importance]) -> list[Figure]:
    """The objective over the two most important parameters that trials have together."""
    names = [item.name for item in rated]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for a, b in pairs:
        both = [t for t in evidence.scored if a in t.chosen and b in t.chosen]
        x, y = ([label(t.chosen[n]) for t in both] for n in (a, b))
        if len(set(x)) > 2 and len(set(y)) > 2 and all(map(is_number, x + y)):
            break
    else:
        return []
    values = [float(t.result.value or 0.0) for t in both]
    grid_x, grid_y, heights = _surface(evidence, (a, b), (x, y), values)
    surface: dict[str, Any] = {
        "type": "contour",
        "x": grid_x,
        "y": grid_y,
        "z": heights,
        "colorscale": "Viridis",
        "reversescale": evidence.objective.mode == "min",
        "contours": {"coloring": "heatmap"},
        "line": {"width": 0.5},
        "opacity": 0.85,
        "hoverinfo": "skip",
        "colorbar": {"title": {"text": evidence.objective.metric, "side": "right"}},
    }
    traces = [surface, *points(evidence, both, x, y)]
    layout = {"xaxis": axis(evidence, a, x), "yaxis": axis(evidence, b, y)}
    note = "Between the trials the surface is a weighted mean of the nearest ones."
    title = f"Contour: {a} and {b}"
    return [Figure(section=SECTION, title=title, traces=traces, layout=layout, note=note)]


def _surface(
    evidence: Evidence,
    names: tuple[str, str],
    at: tuple[Sequence[float], Sequence[float]],
    values: Sequence[float],
    size: int = 30,
) -> tuple[list[float], list[float], list[list[float]]]:
    """Inverse-distance weights (power 3) on a grid, in the scale in which each axis is drawn."""
    logs = [axis(evidence, n, items)["type"] == "log" for n, items in zip(names, at, strict=True)]
    scaled = [
        [math.log10(v) if log else float(v) for v in items]
        for items, log in zip(at, logs, strict=True)
    ]
    grids = [[min(s) + (max(s) - min(s)) * k / (size - 1) for k in range(size)] for s in scaled]
    spans = [max(s) - min(s) for s in scaled]
    heights = []
    for v in grids[1]:
        row = []
        for u in grids[0]:
            far = [
                math.hypot((u - p) / spans[0], (v - q) / spans[1])
                for p, q in zip(*scaled, strict=True)
            ]
            weights = [1.0 / (d + 0.02) ** 3 for d in far]
            total = math.fsum(w * z for w, z in zip(weights, values, strict=True))
            row.append(total / math.fsum(weights))
        heights.append(row)
    shown = [[10**g if log else g for g in grid] for grid, log in zip(grids, logs, strict=True)]
    return shown[0], shown[1], heights


def pareto(evidence: Evidence) -> list[Figure]:
    """Each two objectives, and the trials that no other one beats in all."""
    objectives = evidence.objectives
    done = [t for t in evidence.scored if len(t.result.values) == len(objectives)]
    if len(objectives) < 2 or not done:
        return []
    pairs = itertools.combinations(range(len(objectives)), 2)
    return [_front(evidence, done, i, j) for i, j in pairs]


def _front(evidence: Evidence, done: list[Trial], i: int, j: int) -> Figure:
    first, second = evidence.objectives[i], evidence.objectives[j]
    x, y = ([t.result.values[k] for t in done] for k in (i, j))
    numbers = {r.number for r in evidence.result.front}
    ahead = [t.result.values for t in done if t.result.number in numbers]
    front = sorted((values[i], values[j]) for values in ahead)
    # Of three objectives the front is a surface, of which a line would say nothing.
    is_line = len(evidence.objectives) == 2
    line: dict[str, Any] = {"type": "scatter", "name": "front", "hoverinfo": "skip"}
    line["mode"] = "lines+markers" if is_line else "markers"
    line |= {"x": [p[0] for p in front], "y": [p[1] for p in front]}
    line |= {"line": {"dash": "dot", "color": "#9498a0"}, "marker": {"size": 14, "opacity": 0.4}}
    layout = {
        "xaxis": {"title": {"text": f"{first.metric} ({first.mode})"}},
        "yaxis": {"title": {"text": f"{second.metric} ({second.mode})"}},
    }
    traces = [line, *points(evidence, done, x, y)]
    title = "Pareto front" if is_line else f"Pareto front, {first.metric} and {second.metric}"
    return Figure(section=SECTION, title=title, traces=traces, layout=layout)


def _numbers(trials: Sequence[Trial]) -> list[int]:
    return [t.number for t in trials]


__all__ = [
    "contour",
    "history",
    "importance",
    "parallel",
    "pareto",
    "rate",
    "slices",
    "value",
]
