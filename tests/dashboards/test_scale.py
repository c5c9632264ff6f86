"""As many trials as a large sweep has: 500 of 100 epochs with 10 metrics, half a million points."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import sweep_folders

from dashboards.report import write_report
from dashboards.shipper import lag, start_shipper
from dashboards.store import open_client

TRIALS, EPOCHS = 500, 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_half_a_million_points_are_shipped_beside_other_work(
    home: Path, record_property: pytest.RecordProperty
) -> None:
    """By one process of low priority, so that training does not wait for it."""
    folder = sweep_folders.make_large_sweep(home, trials=TRIALS, epochs=EPOCHS)
    began = time.monotonic()
    assert lag(home, "large").lines == TRIALS * EPOCHS
    asked_s = time.monotonic() - began
    process = start_shipper(home, "large")
    began = time.monotonic()
    while psutil.Process(process.pid).nice() != 10:  # it lowers its priority when it has started
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    assert psutil.Process(process.pid).children() == []
    assert process.wait(timeout=1500) == 0, (folder / "shipper.log").read_text()
    shipped_s = time.monotonic() - began
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
    record_property("lag_s", asked_s)
    record_property("shipped_s", shipped_s)
    record_property("report_s", time.monotonic() - began)
    record_property("report_mb", report.stat().st_size / 1e6)
    print(
        f"lag {asked_s:.1f} s, shipped in {shipped_s:.0f} s, {report.stat().st_size / 1e6:.1f} MB"
    )
