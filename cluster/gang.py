"""Several processes that train one trial together: rank 0 is Tune's actor, the others its helpers.

They lie in the bundles of the trial's placement group, so all are placed at once or none is. Rank 0
alone writes and reports; the helpers say nothing. A helper that dies breaks rank 0's next
collective: `verdict` tells its loss from an error of the trial's own.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from s4core.train.report import EpochReport

if TYPE_CHECKING:
    from cluster.worker import Job
    from sweeps.crew import Said

VERDICT_S = 20.0  # for a helper that was lost, until Ray says so


class LostHelper(RuntimeError):
    """A process of the gang is gone; the trial starts again with a new one."""


class Helper:
    """A process of rank > 0; as a Ray actor it dies with the gang."""

    def train(self, job: str, rank: int, world: int, address: str) -> None:
        """Train in step with the others until the trial ends."""
        for _ in train_as(job, rank, world, address):
            pass


def train_as(
    job_text: str, rank: int, world: int, address: str
) -> Generator[EpochReport, None, None]:
    """The reports of a trial that this process trains as one of several."""
    from cluster.worker import Job
    from s4core.train.process import join_group, leave_group, reset_process
    from sweeps import run_trial

    job = Job.from_text(job_text)
    reset_process(threads=job.threads, gpu_fraction=job.gpu_fraction)
    join_group(rank=rank, world=world, address=address, device=job.device)
    try:
        (spec,), (folder,) = job.specs, job.folders
        yield from run_trial(
            spec, Path(folder), home=Path(job.home), device=job.device, attempt=address, rank=rank
        )
    finally:
        leave_group()


class Gang:
    """The helpers of one trial, as rank 0 sees them."""

    def __init__(self, job: Job, workers: int) -> None:
        """Start `workers - 1` helpers in the placement group that the caller runs in."""
        group = ray.util.get_current_placement_group()
        share = group.bundle_specs[0]
        self._address = _free_address()
        self._world = workers
        self._job, self._number = job.to_text(), job.specs[0].number
        self._actors: list[Any] = []
        self._runs: list[Any] = []
        for rank in range(1, workers):
            actor = (
                ray.remote(Helper)
                .options(
                    num_cpus=share.get("CPU", 0),
                    num_gpus=share.get("GPU", 0),
                    max_restarts=0,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(
                        group, placement_group_bundle_index=rank
                    ),
                )
                .remote()
            )
            self._actors.append(actor)
            self._runs.append(actor.train.remote(self._job, rank, workers, self._address))

    def words(self) -> Generator[Said, None, None]:
        """What the trial says, as rank 0 trains it."""
        for report in train_as(self._job, 0, self._world, self._address):
            yield [(self._number, report)]

    def verdict(self, error: Exception) -> Exception:
        """What really happened when rank 0 met `error`: a lost helper, its error, or `error`."""
        ended, _ = ray.wait(self._runs, num_returns=len(self._runs), timeout=VERDICT_S)
        for run in ended:
            try:
                ray.get(run)
            except RayActorError as lost:
                return LostHelper(f"a process of the trial's gang is gone: {lost}")
            except RayTaskError as failed:
                if type(failed.cause) is not type(error) and not _is_broken_collective(failed):
                    cause: Exception = failed.cause
                    return cause
        return error

    def close(self) -> None:
        """End the helpers; they may be waiting for rank 0 in a collective."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors.clear()


def _is_broken_collective(error: RayTaskError) -> bool:
    """Whether a helper failed only because another process of the gang had."""
    return isinstance(error.cause, RuntimeError) and "gloo" in str(error).lower()


def _free_address() -> str:
    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"
