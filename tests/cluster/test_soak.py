"""Many trials under random kills, of workers and of the driver: each ends once, none is lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driver_process import epochs_on_disk, start, training_pids
from engine_contract import check_record, tiny

from dashboards.shipper import sync

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]

TRIALS = int(os.environ.get("S4SWEEP_SOAK_TRIALS", "200"))
EVERY_S = (1.0, 5.0)
DRIVER_KILLS = 2


@contextlib.contextmanager
def killing(home: Path, seed: int) -> Iterator[Callable[[], int]]:
    """SIGKILL a random training process every few seconds; gives the count so far.

    Never twice without an epoch in between: on a busy machine a new process takes half a minute.
    """
    draw = random.Random(seed)
    done = threading.Event()
    kills = [0]

    def loop() -> None:
        before = 0
        while not done.wait(draw.uniform(*EVERY_S)):
            epochs = sum(epochs_on_disk(home).values())
            with contextlib.suppress(ProcessLookupError, IndexError, ValueError):
                if epochs > before:
                    os.kill(draw.choice(training_pids(home)), signal.SIGKILL)
                    kills[0] += 1
                    before = epochs

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield lambda: kills[0]
    finally:
        done.set()
        thread.join()


def test_a_soak_of_random_kills_ends_with_exactly_the_trials(
    tmp_path: Path, database: Path
) -> None:
    model = {"name": "lab.faulty", "delay_s": 0.1}
    search = {"trials": TRIALS, "max_failures": 0}
    tiny(tmp_path, model=model, search=search, train={"epochs": 2}, resources={"concurrent": 2})
    with killing(tmp_path, seed=0) as kills:
        driver = start(tmp_path)
        for part in range(1, DRIVER_KILLS + 1):
            there = TRIALS * part // (DRIVER_KILLS + 1)
            with driver:
                driver.until(lambda events, there=there: _ended(tmp_path) >= there)
                driver.kill()
            driver = driver.continued()
        with driver:
            driver.until(lambda events: _ended(tmp_path) == TRIALS)  # minutes on a busy machine
            assert driver.wait() == 0
        assert kills() > 0
        print(f"{kills()} workers and {DRIVER_KILLS} drivers were killed")
    shutil.copy(database, tmp_path)
    sync(tmp_path, "tiny")
    result = check_record(tmp_path, "tiny", trials=TRIALS, tracked=True)
    assert len(result.trials) == TRIALS, "no trial had to be replaced"


def _ended(home: Path) -> int:
    return sum(1 for _ in (home / "sweeps/tiny/trials").glob("*/result.json"))
