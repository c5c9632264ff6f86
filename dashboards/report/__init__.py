"""The report of a sweep: one HTML file with everything, at any time, without a server."""

from __future__ import annotations

from pathlib import Path

from dashboards.record import SweepRecord
from dashboards.report import model, search, training
from dashboards.report.evidence import Evidence, gather
from dashboards.report.page import render
from dashboards.report.published import published
from dashboards.report.shapes import Figure
from sweeps.files import write_text

FILE = "report.html"

__all__ = ["FILE", "write_report"]


def write_report(home: Path, name: str, path: Path | None = None) -> Path:
    """Write the report of a sweep as it stands; returns where.

    path: None for `report.html` in the sweep's folder. Raises StudyError if there is no such
    sweep.
    """
    record = SweepRecord.of(home, name)
    evidence = gather(record)
    target = path or record.folder / FILE
    figures, notes = _figures(evidence), {}
    if evidence.best is not None:
        try:
            folder = record.trial(evidence.best.number).folder
            figures += model.best_model(evidence, home, folder)
        except model.NotDrawn as why:
            notes[model.SECTION] = f"Not drawn: {why}."
    write_text(target, render(evidence, figures, notes))
    return target


def _figures(evidence: Evidence) -> list[Figure]:
    rated = search.rate(evidence)
    return [
        *search.history(evidence),
        *search.importance(rated),
        *training.families(evidence),
        *search.parallel(evidence),
        *search.slices(evidence, rated),
        *search.contour(evidence, rated),
        *search.pareto(evidence),
        *published(evidence),
        *training.curves(evidence),
        *training.timeline(evidence),
        *training.time_spent(evidence),
    ]
