"""The figure as the page takes it, and the colours and marks that all figures share.

The page filters figures by trial, so a trace says which trials it shows: one point a trial carries
the numbers as `customdata`, one line for one trial has `meta.trial`, and parallel coordinates have
`meta.trials`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.leaderboard import value
from dashboards.report.evidence import Evidence, Trial
from sweeps.types import TrialState

# Distinct in light and dark, and for the colour-blind (Observable's ten).
COLOURS = (
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951",
    "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
)  # fmt: skip
MARKS = {
    TrialState.COMPLETED: "circle",
    TrialState.STOPPED: "square",
    TrialState.PRUNED: "x",
    TrialState.CUT: "diamond",
    TrialState.RUNNING: "circle-open",
    TrialState.FAILED: "triangle-down",
    TrialState.WAITING: "circle-open",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart: Plotly's traces and layout, under a title, with a sentence on how to read it.

    section: the heading it stands under. height: pixels. wide: whether it needs the whole width;
    the others stand side by side where there is room.
    """

    section: str
    title: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    note: str = ""
    height: int = 420
    wide: bool = True


def colour(evidence: Evidence, family: str) -> str:
    """The colour of a model in every figure of a report."""
    return COLOURS[evidence.families.index(family) % len(COLOURS)]


def points(evidence: Evidence, trials: Sequence[Trial], x: Sequence[Any], y: Sequence[Any]) -> Any:
    """One trace of points for each model, a point for each trial that has both coordinates."""
    traces = []
    for family in evidence.families:
        rows = [
            (t, a, b)
            for t, a, b in zip(trials, x, y, strict=True)
            if t.family == family and a is not None and b is not None
        ]
        rows.sort(key=lambda row: MARKS[row[0].result.state])  # the legend has the first one's mark
        if rows:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": family,
                    "legendgroup": family,
                    "x": [a for _, a, _ in rows],
                    "y": [b for _, _, b in rows],
                    "text": [describe(t) for t, _, _ in rows],
                    "hovertemplate": "%{text}<extra></extra>",
                    "customdata": [t.number for t, _, _ in rows],
                    "marker": {
                        "color": colour(evidence, family),
                        "symbol": [MARKS[t.result.state] for t, _, _ in rows],
                        "size": 9,
                        "line": {"width": 1, "color": colour(evidence, family)},
                    },
                }
            )
    return traces


def describe(trial: Trial) -> str:
    """A trial in the box beside the pointer."""
    result = trial.result
    head = f"trial {trial.number}: {result.state.value}"
    if result.value is not None:
        head += f", {result.value:.4f}"
    if result.best_epoch is not None:
        head += f" at epoch {result.best_epoch} of {result.epochs}"
    lines = [head, *(f"{name} = {value(item)}" for name, item in trial.chosen.items())]
    return "<br>".join(line.replace("<", "&lt;") for line in lines)


def is_number(item: Any) -> bool:
    """Whether a value belongs on an axis of numbers."""
    return isinstance(item, int | float) and not isinstance(item, bool)


def axis(evidence: Evidence, name: str, items: Sequence[Any]) -> dict[str, Any]:
    """The axis of a parameter: logarithmic as it was searched, or of categories."""
    there = [item for item in items if item is not None]
    if not all(is_number(item) for item in there):
        return {"title": {"text": name}, "type": "category"}
    kind = "log" if name in evidence.logs and all(item > 0 for item in there) else "linear"
    whole = sorted(set(there)) if all(isinstance(item, int) for item in there) else []
    ticks = {"tickvals": whole} if 0 < len(whole) <= 8 else {}
    return {"title": {"text": name}, "type": kind, **ticks}


def whole(title: str, most: int) -> dict[str, Any]:
    """An axis of whole numbers up to `most`."""
    return {"title": {"text": title}, **({"dtick": 1} if most <= 15 else {})}


def label(item: Any) -> Any:
    """A parameter's value on an axis: numbers as they are, everything else as text."""
    return item if item is None or is_number(item) else str(item)
