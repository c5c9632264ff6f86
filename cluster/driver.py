"""The driver of a sweep: takes the lock, opens the study, has Ray run it, and sees to the rest.

Starting again is how it resumes: each call is a further attempt over the same study, which first
issues the trials that were running when the driver before it ended.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import capture
from cluster.control import obeying
from cluster.data import prepare_everywhere
from cluster.errors import FailedRun
from cluster.final import test_best
from cluster.ground import watched
from cluster.interrupts import Interrupts
from cluster.live import Show
from cluster.packing import Packing, smallest_gpu_gb
from cluster.placement import AtOnce, Capacity, check_feasible, placement_of
from cluster.room import wait_for_room
from cluster.roster import Limits, Roster
from cluster.runtime import ray_running
from cluster.tune import run_attempt
from cluster.worker import Job
from dashboards.record import SweepRecord
from dashboards.shipper import lag, start_shipper
from sweeps import Study, SweepLock
from sweeps.crew import Crews
from sweeps.hints import hint
from sweeps.plural import plural
from sweeps.remote_home import kept, mirror
from sweeps.results import standing
from sweeps.types import SweepResult

logger = logging.getLogger(__name__)

ATTEMPTS_WITHOUT_PROGRESS = 3
SHIPPER_WAIT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run, as against what to run (SweepSpec).

    address: a Ray cluster ("auto", "host:port"); None starts one on this machine. tracking_uri: of
    MLflow; None is the home's own. track: whether to run the MLflow shipper at all. test: whether
    to test the best trial at the end. only: run this trial and no other.
    """

    address: str | None = None
    tracking_uri: str | None = None
    track: bool = True
    test: bool = True
    only: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run of the driver ended. stopped: why it ended early, or None; test: test metrics."""

    result: SweepResult
    stopped: str | None = None
    interrupted: bool = False
    test: dict[str, float] | None = None


def drive(study: Study, home: Path, *, show: Show, settings: Settings) -> Ended:
    """Run what is left of a study to its end, or until somebody stops it.

    Raises SweepLocked when another driver has it, UserError when no node can hold a trial or Ray
    does not answer, DataError when the data cannot be prepared, FailedRun when Tune breaks itself
    again and again.
    """
    shipper: subprocess.Popen[Any] | None = None
    with kept(study.folder), SweepLock(study.folder, waits=mirror() is None) as lock:
        study.recover()
        driver = Driver(study, home, show=show, settings=settings, lock=lock)
        with driver.stop.caught(), obeying(study.folder, driver.stop.obey):
            if settings.track:
                shipper = start_shipper(home, study.spec.name, settings.tracking_uri)
            show.open()
            try:
                ended = driver.run()
            finally:
                show.close()
    if shipper is not None:
        _wait(shipper, home, study.spec.name, settings.tracking_uri)
    return ended


class Driver:
    """One run of the driver; the lock is held by the caller."""

    def __init__(
        self, study: Study, home: Path, *, show: Show, settings: Settings, lock: SweepLock
    ) -> None:
        self.study = study
        self.home = home
        self.show = show
        self.settings = settings
        self.lock = lock
        self.stop = Interrupts(show, study.spec.name)
        self.placement = placement_of(study.spec)
        self.packing: Packing | None = None
        self.crews = Crews(study, only=settings.only)

    def run(self) -> Ended:
        """Start Ray, prepare the data, run the trials and test the best of them."""
        reason, test = None, None
        try:
            # Said first: who is killed has no last words.
            again = f"`{hint(f'resume {self.study.spec.name}')}` goes on"
            self.show.note(f"starting Ray (should this process be lost: {again})")
            # Ray puts a handler of its own in place of ours for SIGTERM: set it again inside.
            with (
                ray_running(self.settings.address),
                watched(self.show, again),
                self.stop.caught(),
            ):
                self._prepare()
                reason = self._attempts()
                test = self._test()
        except KeyboardInterrupt:
            self.stop.count += 1
        interrupted = self.stop.count > 0
        return Ended(
            result=standing(self.study), stopped=reason, interrupted=interrupted, test=test
        )

    def _prepare(self) -> None:
        if self.settings.address is None:
            check_feasible(self.placement)
        else:
            wait_for_room(self.placement, self.show.note)
        capacity, resources = Capacity.of(self.placement), self.study.spec.resources
        what = f"{plural(self._fits(), 'trial')} at a time"
        if resources.fuse > 1:
            what = f"{plural(self._fits(), 'crew')} of up to {resources.fuse} trials at a time"
        if resources.pack:
            what = "one trial first, to be measured"
        self.show.note("preparing data")
        blocks = self.study.spec.data_blocks()
        nodes = prepare_everywhere(blocks, str(self.home), self.show.progress)
        self.show.note(
            f"{plural(capacity.nodes, 'node')}, {plural(capacity.cpus, 'CPU')}, "
            f"{plural(capacity.gpus, 'GPU')}: {what}"
        )
        if capacity.gpus and not self.placement.gpus:
            self.show.note("the GPUs are left alone: resources.gpus is 0")
        about = capture.describe(nodes)
        capture.keep(self.study.folder, about)
        for line in capture.differences(nodes):
            self.show.note(line)
        for line in capture.deviations(self.study.spec.ran_with, about):
            self.show.note(f"not the same as in the trial that this repeats: {line}")
        if resources.pack:
            record = SweepRecord.of(self.home, self.study.spec.name)
            self.packing = Packing(
                self.placement,
                peaks_mb=record.peaks_mb(),
                gpu_gb=smallest_gpu_gb(node.gpus for node in nodes),
                node_gb=capacity.node_gb,
            )

    def _fits(self) -> int:
        fits = Capacity.of(self.placement).trials
        wanted = self.study.spec.resources.concurrent
        return fits if wanted is None else min(wanted, fits)

    def _attempts(self) -> str | None:
        """Run Tuners over the study until one ends by itself; returns why it ended early, if so."""
        name = self.study.spec.name
        fruitless = 0
        while True:
            if self.packing is not None and self.packing.is_known:
                self.placement = self.packing.placement
                self.show.note(self.packing.line(self._fits()))
            roster = self._roster()
            self.stop.roster = roster
            try:
                run_attempt(roster, self.placement, name=name)
            except Exception as error:
                roster.abandon()
                fruitless = 0 if roster.progressed else fruitless + 1
                if fruitless >= ATTEMPTS_WITHOUT_PROGRESS:
                    text = " ".join(str(error).split())[:300]
                    raise FailedRun(
                        f"Ray Tune failed {fruitless} times without progress: {text}; "
                        f"`{hint(f'resume {name}')}` goes on."
                    ) from error
                logger.warning("Ray Tune failed, and starts again over the same study: %s", error)
                continue
            finally:
                self.stop.roster = None
            if roster.fault is not None:
                raise roster.fault
            if not roster.has_new_shares or self.stop.count:
                return roster.stop_reason

    def _roster(self) -> Roster:
        resources, placement = self.study.spec.resources, self.placement
        job = functools.partial(
            Job,
            home=str(self.home),
            threads=max(1, int(placement.cpus)),
            gpu_fraction=placement.gpus if 0 < placement.gpus < 1 else 1.0,
            device=None if placement.gpus else "cpu",
            memory_gb=placement.memory_gb,
            workers=placement.workers,
        )
        at_once: Callable[[], int] = AtOnce(
            placement, resources.concurrent, is_fixed=self.settings.address is None
        )
        if self.packing is not None and not self.packing.is_known:
            at_once = _one
        limits = Limits(
            at_once=at_once,
            losses=resources.attempts,
        )
        return Roster(
            self.crews,
            self.show,
            job=job,
            limits=limits,
            is_ours=self.lock.is_held,
            packing=self.packing,
        )

    def _test(self) -> dict[str, float] | None:
        if not self.settings.test or self.stop.count or self.study.best() is None:
            return None
        self.show.note("testing the best trial")
        return test_best(self.study, self.home, self.placement, self.show.progress)


def _one() -> int:
    return 1


def _wait(shipper: subprocess.Popen[Any], home: Path, name: str, uri: str | None) -> None:
    """Let the shipper send the last lines; a dashboard that is away does not hold up the user."""
    try:
        shipper.wait(timeout=SHIPPER_WAIT_S)
    except subprocess.TimeoutExpired:  # it goes on by itself, with the report and what is left
        if behind := lag(home, name, uri).lines:
            later = "and gets them when it answers; `%s` helps."
            logger.warning(
                f"MLflow has %d epochs still to take, {later}", behind, hint(f"sync {name}")
            )
