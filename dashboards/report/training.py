"""Figures of the training: learning curves, models compared, where and how the time went."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from dashboards.report.evidence import Evidence, Span, Trial
from dashboards.report.shapes import MARKS, Figure, colour, describe, points, whole
from sweeps.types import TrialState

SECTION = "The training"
MANY = 150  # trials above which curves are drawn by WebGL


def curves(evidence: Evidence) -> list[Figure]:
    """The objective of every trial by epoch, with a mark where a trial was stopped early."""
    metric = evidence.objective.metric
    trials = [t for t in evidence.trials if t.curve]
    if not trials:
        return []
    kind = "scattergl" if len(trials) > MANY else "scatter"
    traces: list[dict[str, Any]] = []
    seen: set[str] = set()
    for trial in trials:
        x = [line.report.epoch for line in trial.curve]
        y = [line.report.metrics.get(metric) for line in trial.curve]
        tint = colour(evidence, trial.family)
        traces.append(
            {
                "type": kind,
                "mode": "lines" if len(x) > 1 else "lines+markers",
                "name": trial.family,
                "legendgroup": trial.family,
                "showlegend": trial.family not in seen,
                "x": x,
                "y": y,
                "line": {"color": tint, "width": 1.5},
                "opacity": 0.75,
                "hovertemplate": f"trial {trial.number}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
                "meta": {"trial": trial.number},
            }
        )
        seen.add(trial.family)
    traces += _ends(evidence, trials)
    most = max(len(t.curve) for t in trials)
    layout = {"xaxis": whole("epoch", most), "yaxis": {"title": {"text": metric}}}
    note = "Squares mark trials out of patience, crosses pruned ones, diamonds those out of hours."
    return [
        Figure(section=SECTION, title="Learning curves", traces=traces, layout=layout, note=note)
    ]


def _ends(evidence: Evidence, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Marks at the last epoch of the trials that did not run to their end."""
    metric = evidence.objective.metric
    words = {
        TrialState.STOPPED: "out of patience",
        TrialState.PRUNED: "pruned",
        TrialState.CUT: "out of hours",
    }
    traces = []
    for state, name in words.items():
        ended = [t for t in trials if t.result.state is state]
        if ended:
            last = [t.curve[-1].report for t in ended]
            tints = [colour(evidence, t.family) for t in ended]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": [r.epoch for r in last],
                    "y": [r.metrics.get(metric) for r in last],
                    "customdata": [t.number for t in ended],
                    "text": [describe(t) for t in ended],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"symbol": MARKS[state], "size": 9, "color": tints},
                }
            )
    return traces


def families(evidence: Evidence) -> list[Figure]:
    """What each model came to: a box over its trials, and every one of them."""
    if len(evidence.families) < 2:
        return []
    scored = evidence.scored
    traces = points(evidence, scored, [t.family for t in scored], [t.result.value for t in scored])
    for trace in traces:
        name = trace["name"]
        trace |= {"type": "box", "boxpoints": "all", "jitter": 0.5, "pointpos": 0, "x0": name}
        trace["marker"] = {"color": colour(evidence, name), "size": 6}
        trace.pop("mode")
    layout = {
        "yaxis": {"title": {"text": evidence.objective.metric}},
        "xaxis": {"type": "category"},
        "showlegend": False,
    }
    return [
        Figure(
            section="The search",
            title="Models compared",
            traces=traces,
            layout=layout,
            height=380,
            wide=False,
        )
    ]


def timeline(evidence: Evidence) -> list[Figure]:
    """Which worker was at which trial, and when."""
    spans = sorted(
        ((span, trial) for trial in evidence.trials for span in trial.spans),
        key=lambda item: item[0].start,
    )
    if not spans:
        return []
    lanes = _lanes([span for span, _ in spans])
    traces = []
    for family in evidence.families:
        rows = [
            (span, trial, lane)
            for (span, trial), lane in zip(spans, lanes, strict=True)
            if trial.family == family
        ]
        if rows:
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": family,
                    "base": [_moment(span.start) for span, _, _ in rows],
                    "x": [1000 * max(span.end - span.start, 0.5) for span, _, _ in rows],
                    "y": [lane for _, _, lane in rows],
                    "text": [str(trial.number) for _, trial, _ in rows],
                    "textposition": "inside",
                    "insidetextanchor": "middle",
                    "hovertext": [
                        f"{describe(trial)}<br>{span.end - span.start:.0f} s on {span.device}"
                        for span, trial, _ in rows
                    ],
                    "hovertemplate": "%{hovertext}<extra></extra>",
                    "customdata": [trial.number for _, trial, _ in rows],
                    "marker": {"color": colour(evidence, family), "line": {"width": 1}},
                }
            )
    order = sorted(set(lanes), reverse=True)
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": order},
        "barmode": "overlay",
        "bargap": 0.25,
    }
    layout["yaxis"]["automargin"] = True  # type: ignore[index]
    note = "A row is a place on a node; a trial that was killed and taken up again has two bars."
    height = min(900, 140 + 34 * len(order))
    return [
        Figure(
            section=SECTION,
            title="Timeline",
            traces=traces,
            layout=layout,
            note=note,
            height=height,
        )
    ]


def _lanes(spans: Sequence[Span]) -> list[str]:
    """A row for each span (sorted by start), the first free one of its host."""
    free: dict[str, list[float]] = {}
    lanes = []
    for span in spans:
        ends = free.setdefault(span.host, [])
        place = next((i for i, end in enumerate(ends) if end <= span.start), len(ends))
        if place == len(ends):
            ends.append(span.end)
        ends[place] = max(span.end, span.start + 0.5)
        lanes.append(f"{span.host} / {place + 1}")
    return lanes


def _moment(seconds: float) -> str:
    at = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def time_spent(evidence: Evidence) -> list[Figure]:
    """Minutes spent in trials by how they ended, and minutes that early stops and fusing saved."""
    spent = {state: 0.0 for state in TrialState}
    saved, fused = dict(spent), dict(spent)
    for trial in evidence.trials:
        state = trial.result.state
        spent[state] += trial.result.seconds / 60
        saved[state] += trial.saved_s / 60
        fused[state] += max(0.0, trial.result.spared) / 60
    there = [state for state in TrialState if spent[state] > 0]
    if not there:
        return []
    bars: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": name,
            "x": [state.value for state in there],
            "y": [minutes[state] for state in there],
            "marker": marker,
        }
        for name, minutes, marker in (
            ("spent", spent, {"color": "#4269d0"}),
            ("saved by stopping", saved, {"color": "#3ca951", "pattern": {"shape": "/"}}),
            ("saved by fusing", fused, {"color": "#efb118", "pattern": {"shape": "x"}}),
        )
        if any(minutes.values())
    ]
    for bar in bars:
        bar["hovertemplate"] = "%{x}: %{y:.1f} min %{fullData.name}<extra></extra>"
    layout = {"yaxis": {"title": {"text": "minutes of trials"}}, "barmode": "stack"}
    note = (
        "Saved by stopping: the epochs not run, at the trial's own mean time for one. By fusing: "
        "what the epochs would have taken more alone, as each crew measured when it began."
    )
    return [
        Figure(
            section=SECTION,
            title="Time spent and saved",
            traces=bars,
            layout=layout,
            note=note,
            height=380,
            wide=False,
        )
    ]
