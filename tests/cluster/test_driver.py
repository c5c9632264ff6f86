"""The driver as a process of its own: killed, interrupted, asked to stop, started twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driver_process import Driver, epochs_on_disk, mid_sweep, resume, start, training_pids
from engine_contract import check_record, tiny

from sweeps import Study
from sweeps.types import TrialState

pytestmark = [pytest.mark.ray]

EPOCHS = 4


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Path]:
    """The YAML of five trials of four epochs, about half a second each."""
    model = {"name": "lab.faulty", "delay_s": 0.12}
    tiny(
        tmp_path,
        model=model,
        train={"epochs": EPOCHS},
        search={"trials": 5},
        resources={"concurrent": 2},
    )
    yield tmp_path


def test_a_killed_driver_is_resumed_where_it_was(sweep: Path) -> None:
    with start(sweep) as first:
        first.until(mid_sweep)
        first.pause()  # or it may be done before the second one has begun
        with resume(sweep) as second:
            assert second.wait() == 2, "a second driver is refused"
            assert second.error.count("\n") == 1
            assert "sweep 'tiny' is driven by process" in second.error
        first.kill()
    killed = time.time()
    finished, there = set(first.numbers("ended")), epochs_on_disk(sweep)
    with first.continued() as third:
        assert third.wait() == 0
        third.tell_recovery(killed)
    result = check_record(sweep, "tiny", trials=5)
    assert len(result.trials) == 5
    assert not finished & set(third.numbers("started")), "nothing finished is run again"
    assert set(there) - finished <= set(third.numbers("started"))
    for number, epochs in there.items():
        lines = (sweep / f"sweeps/tiny/trials/{number:04d}/metrics.jsonl").read_text().splitlines()
        times = [json.loads(line)["time"] for line in lines]
        # A worker may outlive its driver by a moment, and finish the epoch it is in.
        assert sum(t < killed for t in times) in (epochs, epochs + 1), "no epoch is trained twice"
        assert len(times) == EPOCHS


@pytest.mark.slow
def test_a_checkpoint_that_is_truncated_while_nobody_drives_costs_one_epoch(sweep: Path) -> None:
    with start(sweep) as driver:
        driver.until(lambda events: mid_sweep(events) and 2 <= events[-1].get("epoch", 0) < EPOCHS)
        running = training_pids(sweep)
        driver.kill()
    while any(psutil.pid_exists(pid) for pid in running):
        time.sleep(0.1)  # workers outlive their driver by a moment
    last = [
        path
        for path in sweep.glob("sweeps/tiny/trials/*/last.pt")
        if path.with_name("previous.pt").exists() and not path.with_name("result.json").exists()
    ]
    assert last
    for path in last:
        path.write_bytes(path.read_bytes()[:-100])
    with driver.continued() as again:
        assert again.wait() == 0, again.error
    assert len(check_record(sweep, "tiny", trials=5).trials) == 5


@pytest.mark.slow
def test_one_interrupt_ends_the_epochs_in_hand_and_resume_goes_on(sweep: Path) -> None:
    with start(sweep) as driver:
        driver.until(mid_sweep)
        driver.send(signal.SIGINT)
        assert driver.wait() == 130
    notes = [e["text"] for e in driver.events if e["event"] == "note"]
    again = f"`s4sweep resume tiny --allow-imports --home {sweep}` goes on"
    assert any(again in note for note in notes)
    assert driver.events[-1]["interrupted"] is True
    reported = {n: driver.numbers("epoch").count(n) for n in driver.numbers("started")}
    assert epochs_on_disk(sweep) == reported, "every epoch that was trained was heard of"
    trials = Study.open("tiny", sweep).result().trials
    assert sum(t.state is TrialState.COMPLETED for t in trials) < 5, "it did stop"
    with resume(sweep) as again:
        assert again.wait() == 0
    check_record(sweep, "tiny", trials=5)


@pytest.mark.slow
def test_stop_now_from_elsewhere_ends_the_driver_at_once(sweep: Path) -> None:
    with start(sweep) as driver:
        driver.until(mid_sweep)
        with Driver(sweep, "stop", "tiny", "--now") as stop:
            assert stop.wait() == 0
        assert driver.wait() == 130
    with resume(sweep, "--trials", "3") as again:
        assert again.wait() == 2
        assert "there are 5 already" in again.error


@pytest.mark.slow
def test_a_running_sweep_is_steered_from_elsewhere(tmp_path: Path) -> None:
    """One trial stopped, the sweep paused and no longer paused, all in the same driver."""
    tiny(
        tmp_path,
        model={"name": "lab.faulty", "delay_s": 0.12},
        train={"epochs": 60},
        search={"trials": 2},
    )

    def does(*words: str) -> list[str]:
        with Driver(tmp_path, *words) as verb:
            assert verb.wait() == 0, verb.error
        return verb.said

    with start(tmp_path) as driver:
        driver.until(lambda events: events[-1]["event"] == "epoch")
        assert "paused; what runs goes on" in does("pause", "tiny")[0]
        assert "trial 0: pruned after epoch" in does("stop", "tiny", "--trial", "0")[0]
        driver.until(lambda events: "paused" in events[-1].get("text", ""))
        assert json.loads(does("status", "tiny", "--json")[0])["state"] == "paused"
        assert "no longer paused" in does("resume", "tiny")[0]
        driver.until(lambda events: events[-1].get("number") == 1)
        assert "s4sweep resume tiny" in does("stop", "tiny")[0]
        assert driver.wait() == 130
    states = [t.state for t in Study.open("tiny", tmp_path).result().trials]
    assert states == [TrialState.PRUNED, TrialState.RUNNING]
