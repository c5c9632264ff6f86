"""The page: figures and tables in one HTML file that needs no network and no server."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dashboards.leaderboard import duration, other_values, ranking, short, value
from dashboards.report.evidence import Evidence, Trial
from dashboards.report.shapes import Figure, colour
from sweeps.types import TrialState

ROWS = 15  # of the leaderboard, until all are asked for


def render(evidence: Evidence, figures: Sequence[Figure], notes: Mapping[str, str]) -> str:
    """The report as HTML.

    notes: what to say in a section whose figures could not be made, by its heading.
    """
    drawn = list(enumerate(_paired(figures)))
    parts = [_leaderboard(evidence)]
    for section in dict.fromkeys([*(f.section for f in figures), *notes]):
        cards = [_card(i, figure) for i, figure in drawn if figure.section == section]
        if section in notes:
            cards.append(
                f'<div class="card wide"><p class="muted">{escape(notes[section])}</p></div>'
            )
        parts.append(f'<h2>{escape(section)}</h2><div class="cards">{"".join(cards)}</div>')
    parts += [_failures(evidence), _sweep(evidence)]
    fields = {
        "title": escape(evidence.name),
        "subtitle": _subtitle(evidence),
        "css": _asset("page.css"),
        "tiles": "".join(_tiles(evidence)),
        "sections": "\n".join(parts),
        "footer": _footer(evidence),
        "plotly": get_plotlyjs(),
        "data": script_json(_data(evidence, figures)),
        "js": _asset("page.js"),
    }
    head, *pieces = _asset("page.html").split("{{")
    page = [head]
    for piece in pieces:
        name, rest = piece.split("}}", 1)
        page += [fields[name], rest]
    return "".join(page)


def _paired(figures: Sequence[Figure]) -> list[Figure]:
    """Give the whole width to a narrow figure that has no other one beside it."""
    paired: list[Figure] = []
    column = 0
    for i, figure in enumerate(figures):
        follower = figures[i + 1] if i + 1 < len(figures) else None
        has_next = follower and not follower.wide and follower.section == figure.section
        alone = not figure.wide and column == 0 and not has_next
        paired.append(dataclasses.replace(figure, wide=figure.wide or alone))
        column = 0 if paired[-1].wide else 1 - column
    return paired


def script_json(data: Any) -> str:
    """JSON that may stand in a script element: no tag can begin in it, and no NaN."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    return data


def _data(evidence: Evidence, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "figures": [{"traces": f.traces, "layout": f.layout} for f in figures],
        "families": {family: colour(evidence, family) for family in evidence.families},
        "states": sorted({t.result.state.value for t in evidence.trials}),
        "trials": [
            {
                "number": t.number,
                "family": t.family,
                "state": t.result.state.value,
                "words": _words(t),
            }
            for t in evidence.trials
        ],
    }


def _words(trial: Trial) -> str:
    """What the text filter looks in."""
    chosen = " ".join(f"{name}={value(item)}" for name, item in trial.chosen.items())
    text = f"{trial.number} {trial.family} {trial.result.state.value} {chosen} {trial.result.error}"
    return text.lower()


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _card(i: int, figure: Figure) -> str:
    note = f'<p class="muted">{escape(figure.note)}</p>' if figure.note else ""
    broad = " broad" if any(t.get("type") == "parcoords" for t in figure.traces) else ""
    style = f"height:{figure.height}px"
    chart = f'<div class="chart{broad}" id="figure-{i}" data-figure="{i}" style="{style}"></div>'
    kind = "card wide" if figure.wide else "card"
    title = f"<h3>{escape(figure.title)}</h3>"
    return f'<div class="{kind}">{title}{note}<div class="scroll">{chart}</div></div>'


def _subtitle(evidence: Evidence) -> str:
    goal = evidence.objective
    words = "highest" if goal.mode == "max" else "lowest"
    state = "over" if evidence.is_over else "still running"
    when = datetime.datetime.fromtimestamp(evidence.made).strftime("%Y-%m-%d %H:%M")
    data = sorted({str(t.spec.data.get("name")) for t in evidence.trials})
    return escape(f"{words} {goal.metric} on {', '.join(data)} \u00b7 {state} \u00b7 as of {when}")


def _tiles(evidence: Evidence) -> list[str]:
    counts = Counter(t.result.state for t in evidence.trials)
    spent = sum(t.result.seconds for t in evidence.trials)
    saved = sum(t.saved_s for t in evidence.trials)
    best = evidence.best
    tiles = []
    if best is not None and best.result.value is not None:
        tiles.append((f"{best.result.value:.4f}", f"best {evidence.objective.metric}"))
        for name, score in best.test.items():
            if name.removeprefix("test/") == evidence.objective.metric.removeprefix("val/"):
                tiles.append((f"{score:.4f}", f"{name} of trial {best.number}"))
    ended = sum(n for state, n in counts.items() if state.is_finished)
    tiles.append((f"{ended}", "trials ended" + _counted(counts)))
    tiles.append((duration(spent), "spent in trials"))
    if evidence.gpus:
        tiles.append((f"{spent / 3600 * evidence.gpus:.2f}", "GPU hours"))
    tiles.append((duration(saved), "saved by stopping early"))
    if fused := sum(t.result.spared for t in evidence.trials):
        tiles.append((duration(abs(fused)), "saved by fusing" if fused > 0 else "lost by fusing"))
    return [
        f'<div class="tile"><b>{escape(figure)}</b><span class="muted">{escape(what)}</span></div>'
        for figure, what in tiles
    ]


def _counted(counts: Mapping[TrialState, int]) -> str:
    words = [
        f"{counts[state]} {state.value}"
        for state in TrialState
        if state is not TrialState.COMPLETED and counts.get(state)
    ]
    return f" ({', '.join(words)})" if words else ""


def _leaderboard(evidence: Evidence) -> str:
    by_number = {t.number: t for t in evidence.trials}
    ranked = [by_number[r.number] for r in ranking(evidence.result)]
    test = sorted({name for t in ranked for name in t.test})
    metrics = [o.metric for o in evidence.objectives]
    heads = ["#", "trial", *metrics, *test, "state", "model", "epochs", "time"]
    names = [name for name in evidence.names if name != "model.name"]  # has a column already
    others = {t.number: other_values(evidence.result, t.result) for t in ranked}
    front = {t.number for t in evidence.result.front} if metrics[1:] else set()
    rows = [
        _row(i, t, others[t.number], test, names, star="* " if t.number in front else "")
        for i, t in enumerate(ranked, 1)
    ]
    head = "".join(f"<th>{escape(h)}</th>" for h in [*heads, *map(short, names)])
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    table = f'<div class="scroll"><table data-rows="{ROWS}">{body}</table></div>'
    more = (
        f'<button class="more" type="button">all {len(rows)}</button>' if len(rows) > ROWS else ""
    )
    title = "Best trials (* on the front)" if front else "Best trials"
    return f'<h2>{title}</h2><div class="card">{table}{more}</div>'


def _row(
    rank: int,
    trial: Trial,
    others: Sequence[float | None],
    test: Sequence[str],
    names: Sequence[str],
    *,
    star: str,
) -> str:
    result = trial.result
    epochs = str(result.epochs)
    if result.best_epoch not in (None, result.epochs):
        epochs += f" (best {result.best_epoch})"
    spread = f" +- {result.spread:.4f}" if result.spread is not None else ""
    cells = [_number(rank, str(rank)), _number(trial.number, f"{star}{trial.number}")]
    scored = "-" if result.value is None else f"{result.value:.4f}{spread}"
    cells.append(_number(result.value, scored))
    for score in (*others, *map(trial.test.get, test)):
        cells.append(_number(score, "" if score is None else f"{score:.4f}"))
    state = result.state.value
    cells.append(f'<td><span class="state {state}">{state}</span></td>')
    cells.append(f"<td>{escape(trial.family)}</td>")
    cells.append(_number(result.epochs, epochs))
    cells.append(_number(trial.result.seconds, duration(trial.result.seconds)))
    for name in names:
        item = trial.chosen.get(name)
        cells.append(f"<td>{'' if item is None else escape(value(item))}</td>")
    kind = ' class="first"' if rank == 1 and result.value is not None else ""
    return f'<tr{kind} data-trial="{trial.number}">{"".join(cells)}</tr>'


def _number(key: float | None, text: str) -> str:
    return f'<td class="num" data-value="{"" if key is None else key}">{escape(text)}</td>'


def _failures(evidence: Evidence) -> str:
    failed = [t for t in evidence.trials if t.result.state is TrialState.FAILED]
    if not failed:
        return ""
    rows = "".join(
        f'<tr data-trial="{t.number}"><td class="num">{t.number}</td><td>{escape(t.family)}</td>'
        f'<td class="num">{t.result.epochs}</td>'
        f'<td class="text">{escape(t.result.error or "")}</td></tr>'
        for t in failed
    )
    head = "<tr><th>trial</th><th>model</th><th>epochs</th><th>what happened</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f'<h2>Failures</h2><div class="card scroll">{table}</div>'


def _sweep(evidence: Evidence) -> str:
    text = f"<summary>sweep.yaml</summary><pre>{escape(evidence.text)}</pre>"
    return f'<h2>The sweep</h2><div class="card"><details>{text}</details></div>'


def _footer(evidence: Evidence) -> str:
    commits = sorted({t.commit for t in evidence.trials if t.commit})
    made = f"made by s4sweep {importlib.metadata.version('s4sweep')}"
    words = [made, *(f"git commit {commit}" for commit in commits)]
    return escape(" \u00b7 ".join([*words, f"s4sweep report {evidence.name}"]))
