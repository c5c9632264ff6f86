"""Published results on the same data set beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.report.evidence import Evidence, Trial
from dashboards.report.shapes import Figure
from sweeps.presets import Preset, find_preset, preset_names

SECTION = "The search"
ROWS = 25
SAME, PALE, OURS = "#9498a0", "rgba(148,152,160,0.4)", "#4269d0"


def published(evidence: Evidence) -> list[Figure]:
    """Dots for what was published on the best trial's data set, and for the best trial.

    A result on other options of the data set (another variant, another sampling rate) is shown
    paler, since it is not to be compared digit by digit.
    """
    best = evidence.best
    if best is None or best.result.value is None:
        return []
    kind = _kind(evidence.objective.metric)
    found = [
        p
        for p in map(find_preset, preset_names())
        if p.published and p.data["name"] == best.spec.data["name"]
        if _kind(p.published.metric) == kind
    ]
    if not found:
        return []
    rows = [_theirs(preset, best.spec.data) for preset in found]
    rows.sort(key=lambda row: row["value"], reverse=evidence.objective.mode == "max")
    rows = [*rows[: ROWS - 1], _ours(best, kind)]
    rows.sort(key=lambda row: row["value"], reverse=evidence.objective.mode == "min")
    low, high = min(r["value"] for r in rows), max(r["value"] for r in rows)
    dots = {
        "type": "scatter",
        "mode": "markers+text",
        "textposition": "middle right",
        "x": [row["value"] for row in rows],
        "y": [row["name"] for row in rows],
        "text": [f"{row['value']:.4g}" for row in rows],
        "hovertext": [row["about"] for row in rows],
        "hovertemplate": "%{y}: %{x:.4f}<br>%{hovertext}<extra></extra>",
        "marker": {"size": 13, "color": [row["colour"] for row in rows]},
    }
    edge = 0.12 * (high - low) or 0.01
    layout = {
        "xaxis": {"title": {"text": kind}, "range": [low - edge, high + edge]},
        "yaxis": {"type": "category"},
        "showlegend": False,
    }
    note = "Pale dots are of another version of the data set and only roughly comparable."
    paler = any(row["colour"] == PALE for row in rows)
    return [
        Figure(
            section=SECTION,
            title="Published, and ours",
            traces=[dots],
            layout=layout,
            note=note if paler else "",
            height=130 + 26 * len(rows),
        )
    ]


def _theirs(preset: Preset, data: Mapping[str, Any]) -> dict[str, Any]:
    result = preset.published
    assert result is not None
    spread = f" +- {result.std:.4g}" if result.std is not None else ""
    return {
        "name": preset.name,
        "value": result.value,
        "about": f"{result.metric}{spread}, {preset.source} ({result.checked})",
        "colour": SAME if dict(preset.data) == dict(data) else PALE,
    }


def _ours(best: Trial, kind: str) -> dict[str, Any]:
    tested = best.test.get(f"test/{kind}")
    value = tested if tested is not None else best.result.value
    split = "test" if tested is not None else "validation (not tested yet)"
    return {
        "name": f"this sweep, trial {best.number}",
        "value": float(value or 0.0),
        "about": f"best trial, on {split}",
        "colour": OURS,
    }


def _kind(metric: str) -> str:
    """A metric without its split."""
    return metric.split("/", 1)[-1]
