"""As many trials as a large sweep has: 500 of 100 epochs with 10 metrics, half a million points.

    OMP_NUM_THREADS=1 pytest -s tests/dashboards/test_scale.py

prints what it takes: of the shipper, of two trainings beside it (of the priority that Ray gives its
workers), of the report and MLflow's page.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import sweep_folders
from browser import chromium, show_as

from dashboards import server, views
from dashboards.report import write_report
from dashboards.shipper import lag, start_shipper
from dashboards.store import open_client

TRIALS, EPOCHS = 500, 100
ALONE_S = 30.0
WORKER_NICENESS = 15  # Ray's own default
# Steps of a small S4D, each with the moment at which it was done.
TRAINS = """
import time, torch
from s4core import TaskShape, build
task = TaskShape(d_input=1, d_output=10, length=784)
model = build({"name": "s4d", "d_model": 32, "n_layers": 2}, task)
optimizer = torch.optim.AdamW(model.parameters())
x, y = torch.randn(50, 784, 1), torch.randint(0, 10, (50,))
while True:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    print(time.monotonic(), flush=True)
"""


@contextmanager
def two_trainings(folder: Path) -> Iterator[list[Path]]:
    """Two processes that train; each notes its steps in a file."""
    notes = [folder / "steps0", folder / "steps1"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for note in notes:
            with note.open("wb") as out:
                train = ["nice", "-n", str(WORKER_NICENESS), sys.executable, "-c", TRAINS]
                started.append(subprocess.Popen(train, stdout=out))
        yield notes
    finally:
        for process in started:
            process.kill()
            process.wait()


def step_s(notes: list[Path], began: float, ended: float) -> float:
    """The median time of the steps between two moments."""
    gaps = []
    for note in notes:
        done = [float(line) for line in note.read_text().splitlines(keepends=True) if "\n" in line]
        inside = [moment for moment in done if began <= moment <= ended]
        gaps += [b - a for a, b in zip(inside, inside[1:], strict=False)]
    return statistics.median(gaps)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(5400)
def test_half_a_million_points_are_shipped_beside_other_work(
    home: Path, record_property: pytest.RecordProperty
) -> None:
    """By one process of low priority, so that training does not wait for it."""
    folder = sweep_folders.make_large_sweep(home, trials=TRIALS, epochs=EPOCHS)
    began = time.monotonic()
    assert lag(home, "large").lines == TRIALS * EPOCHS
    asked_s = time.monotonic() - began
    with two_trainings(home) as notes:
        wait_for(lambda: all(note.stat().st_size for note in notes))
        alone = time.monotonic()
        time.sleep(ALONE_S)
        spent = children_s()
        process = start_shipper(home, "large")
        began = time.monotonic()
        # It lowers its priority when it has started.
        wait_for(lambda: psutil.Process(process.pid).nice() == 19)
        assert psutil.Process(process.pid).children() == []
        try:  # other tests beside it make it several times slower
            assert process.wait(timeout=4800) == 0, (folder / "shipper.log").read_text()
        finally:
            process.kill()
            process.wait()
        shipped_s = time.monotonic() - began
        spent = children_s() - spent
        slower = step_s(notes, began, began + shipped_s) / step_s(notes, alone, began)
    client = open_client(home)
    experiment = client.get_experiment_by_name("large").experiment_id
    found = client.search_runs([experiment], max_results=TRIALS + 10)
    assert len(found) == TRIALS + 1
    for run in found:
        if run.info.run_name != "00-summary":
            assert run.data.metrics["extra/0"] == 1 / EPOCHS
    for run in found[:: TRIALS // 5]:
        if run.info.run_name != "00-summary":
            points = client.get_metric_history(run.info.run_id, "val/accuracy")
            assert sorted(p.step for p in points) == list(range(1, EPOCHS + 1))
    began = time.monotonic()
    report = write_report(home, "large")
    report_s = time.monotonic() - began
    figures = {
        "lag_s": asked_s,
        "shipped_s": shipped_s,
        "shipper_cpu_s": spent,
        "step_beside_it": slower,
        "report_s": report_s,
        "report_mb": report.stat().st_size / 1e6,
        "page_s": seconds_to_charts(home, experiment),
    }
    for name, value in figures.items():
        record_property(name, value)
    print("; ".join(f"{name} {value:.2f}" for name, value in figures.items()))


def children_s() -> float:
    """CPU time of the processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_for(holds: Any, seconds: float = 60) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)


def seconds_to_charts(home: Path, experiment: str) -> float:
    """From an empty browser to MLflow's page of the sweep with its charts drawn."""
    running = server.start(home)
    charts = "return document.querySelectorAll('.js-plotly-plot .trace').length"
    try:
        with chromium() as page:
            show_as(page, 1600, 2000, "light")
            began = time.monotonic()
            page.get(views.url(running.url, experiment, has_view=True))
            wait_for(lambda: page.execute_script(charts) >= 100, 120)
            return time.monotonic() - began
    finally:
        running.stop()
