"""A trial that Ray's memory monitor kills: a lost worker, and no error that ends the sweep.

`s4sweep` turns the monitor off where it starts Ray; on a cluster of the user's it is on.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from driver_process import start
from engine_contract import check_record, tiny

from sweeps import Study
from sweeps.types import TrialState

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MARGIN_BYTES = 3e9  # of memory that the trial may take before the monitor acts


def test_a_trial_that_the_memory_monitor_kills_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + MARGIN_BYTES) / memory.total
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{limit:.3f}")
    tiny(
        tmp_path,
        model={"name": "lab.faulty", "fault": {"choice": ["none", "greedy"]}, "at": 2},
        search={"sampler": "grid", "trials": 2},
        train={"lr": 0.01},
        resources={"attempts": 1, "concurrent": 2},
    )
    with start(tmp_path) as driver:
        assert driver.wait() == 0, driver.error
        assert driver.losses() >= 1
        assert any("memory" in note for note in driver.notes() if "lost its worker" in note)
    by_fault = {t.params["model.fault"]: t for t in Study.open("tiny", tmp_path).result().trials}
    assert by_fault["none"].state is TrialState.COMPLETED
    assert by_fault["greedy"].state is TrialState.FAILED
    assert "lost its worker or node 2 times" in (by_fault["greedy"].error or "")
    check_record(tmp_path, "tiny", trials=1)
