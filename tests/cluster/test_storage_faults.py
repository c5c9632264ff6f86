"""A trial, or a whole sweep, on a storage that fills up or turns read-only waits, and then goes on.

A real small file system (tmpfs), which only root may mount.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from driver_process import epochs_on_disk, mid_sweep, start
from engine_contract import check_record, tiny

from cluster.worker import Job, one_attempt, through_outages
from sweeps import Study

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")

OUTAGE_S = 60.0


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of one megabyte, or of as many as the test's parameter says."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        size = getattr(request, "param", 1)
        mount("-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no mount here: {error.stderr!r}")
    yield place
    mount("-o", "remount,rw", str(place))
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def job(tmp_path: Path, disk: Path) -> Job:
    """A trial of four epochs whose folder lies on the disk; its data lie elsewhere."""
    study = Study.create(tiny(tmp_path, train={"epochs": 4}), tmp_path)
    spec = study.ask()
    return Job(specs=(spec,), folders=(str(disk / "0000"),), home=str(tmp_path), patience_s=60.0)


def epochs_of(job: Job, sleep: Callable[[float], None] = time.sleep) -> Generator[int, None, None]:
    """The epochs that the only trial of a job tells of, as it does."""
    for said in through_outages(job, start=functools.partial(one_attempt, job), sleep=sleep):
        yield from (report.epoch for _, report in said)


def check_waited_for(
    job: Job, break_it: Callable[[], None], mend_it: Callable[[], None], words: str
) -> None:
    """Break the storage after epoch 2, mend it in the second wait: no epoch is lost or repeated."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            mend_it()

    epochs = []
    for epoch in epochs_of(job, sleep=sleep):
        epochs.append(epoch)
        if epoch == 2:
            break_it()
    assert waits == [1.0, 2.0], words
    assert epochs == [1, 2, 3, 4]
    lines = (Path(job.folders[0]) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == epochs


def fill(ballast: Path) -> None:
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


def test_a_full_disk_is_waited_for(job: Job, disk: Path) -> None:
    ballast = disk / "ballast"

    check_waited_for(job, lambda: fill(ballast), ballast.unlink, "full")


def test_a_read_only_storage_is_waited_for(job: Job, disk: Path) -> None:
    check_waited_for(
        job,
        lambda: mount("-o", "remount,ro", str(disk)),
        lambda: mount("-o", "remount,rw", str(disk)),
        "read-only",
    )


def test_a_disk_that_stays_full_fails_the_trial_with_its_path(job: Job, disk: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left on device.*0000"),
        (disk / "ballast").open("wb", buffering=0) as file,
    ):
        for epoch in epochs_of(job, sleep=lambda s: None):
            while epoch == 1:
                try:
                    file.write(b"0" * 4096)
                except OSError:
                    break
    kept = (Path(job.folders[0]) / "metrics.jsonl").read_text().splitlines()
    assert len(kept) == 1, "what was published before is whole"


def test_a_trial_that_is_told_to_end_does_not_wait_for_its_storage(job: Job, disk: Path) -> None:
    """Nor does it start again: its last words are on disk already."""
    start = functools.partial(one_attempt, job)
    stream = through_outages(job, start=start, sleep=lambda s: pytest.fail("it waits"))
    next(stream)
    (disk / "0000" / ".progress.json").touch()
    mount("-o", "remount,ro", str(disk))
    stream.close()
    assert (disk / "0000" / "attempts.jsonl").read_text().count("\n") == 1


def test_a_truncated_checkpoint_costs_one_epoch_and_not_the_trial(job: Job) -> None:
    """The one before it is taken; the epoch is trained again and logged once."""
    epochs = epochs_of(job)
    assert [next(epochs), next(epochs)] == [1, 2]
    epochs.close()
    last = Path(job.folders[0]) / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    assert list(epochs_of(job)) == [1, 2, 3, 4]
    lines = (Path(job.folders[0]) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("disk", [64], indirect=True)
@pytest.mark.parametrize(
    ("fault", "workers"), [("read-only", 1), ("full", 1), ("read-only", 2)], ids=str
)
def test_a_sweep_waits_for_its_home_a_minute_and_goes_on(
    disk: Path, fault: str, workers: int
) -> None:
    """Its study, checkpoints, results and lock all lie there; no trial is lost or started again."""
    model = {"name": "lab.faulty", "delay_s": 0.12}
    search = {"trials": 5, "max_failures": 0}
    resources = {"concurrent": 2 // workers, "workers": workers}
    tiny(disk, model=model, train={"epochs": 6}, search=search, resources=resources)
    with start(disk) as driver:
        driver.until(mid_sweep)
        if fault == "full":
            fill(disk / "ballast")
        else:
            freeze(disk)
        there = epochs_on_disk(disk)
        time.sleep(OUTAGE_S)
        assert epochs_on_disk(disk) == there, "it was away"
        if fault == "full":
            (disk / "ballast").unlink()
        else:
            mount("-o", "remount,rw", str(disk))
        assert driver.wait() == 0, driver.error
        assert driver.losses() == 0
        assert sorted(driver.numbers("started")) == list(range(5))
    assert ("Read-only" if fault == "read-only" else "No space") in driver.error
    assert len(check_record(disk, "tiny", trials=5).trials) == 5


def freeze(disk: Path) -> None:
    """Make it read-only, which the kernel refuses as long as anybody writes."""
    while True:
        with contextlib.suppress(subprocess.CalledProcessError):
            mount("-o", "remount,ro", str(disk))
            return
