"""Ray Tune as the engine of a sweep: thin adapters between Tune and the roster, and nothing else.

Tune brings placement groups, fractions of GPUs, reuse of workers and autoscaling. It is not asked
to remember anything: its own restore re-ran finished trials and crashed over a persistent study
(`UpdateFinishedTrialError`), so each attempt is a new Tuner over the same study.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.air._internal.usage as air_usage
import ray.air.execution._internal.actor_manager as actor_manager
import ray.tune.execution.tune_controller as tune_controller
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from cluster.placement import Placement
from cluster.roster import Roster
from cluster.runtime import LOST
from cluster.worker import Failure, Job, TrialActor, ends, from_message
from s4core.train.report import EpochReport
from sweeps import Finished

# Tune's own files are of no use to anybody here: none are written, and nothing is restored.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # The roster says how many are out; this many actors may be starting at once.
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no type information
    """Tune's questions "what next" and "it ended", passed on to the roster."""

    def __init__(self, roster: Roster) -> None:
        super().__init__()
        self._roster = roster

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        job = self._roster.next_job(trial_id)
        if isinstance(job, Job):
            return {"job": job.to_text(), "number": job.specs[0].number}
        return Searcher.FINISHED if isinstance(job, Finished) else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error:
            self._roster.given_up(trial_id)
            return
        # Tune tells the scheduler of every result but a trial's last, which is said here alone. (It
        # sets `done` in the result of a stopped trial too, so that is no sign of a last one.)
        message = result or {}
        failure = message.get("failure")
        if failure is None and "said" in message and ends(said := from_message(message)):
            self._roster.heard(trial_id, said)
        self._roster.ended(trial_id, Failure(**json.loads(failure)) if failure else None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on disk already."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Asks the study's pruner after each epoch, whatever Optuna pruner that is."""

    def __init__(self, roster: Roster) -> None:
        super().__init__()
        self._roster = roster
        self._epochs: dict[int, int] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        said = from_message(result)
        for number, word in said:
            if isinstance(word, EpochReport) and word.epoch > self._epochs.get(number, 0):
                # Progress renews the budget for lost workers.
                self._epochs[number] = word.epoch
                trial.run_metadata.num_failures = 0
        stop = self._roster.heard(trial.trial_id, said)
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision


class RosterCallback(tune.Callback):  # type: ignore[misc]
    """Tells the roster which trials have a worker and which have lost it."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._roster.started(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._roster.lost(trial.trial_id, _last_line(trial.error_file))


class DrainStopper(tune.Stopper):  # type: ignore[misc]
    """Ends the experiment once the roster has drained."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._roster.is_drained


def run_attempt(roster: Roster, placement: Placement, *, name: str) -> None:
    """Run the roster's trials until it is finished or drained; Ray must have been initialised.

    Raises what Tune raises when it breaks itself; the study then holds the state, and a further
    attempt goes on.
    """
    with _tune_environment(), tempfile.TemporaryDirectory(prefix="s4tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, placement.bundles()),
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=StudySearcher(roster),
                scheduler=StudyScheduler(roster),
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=scratch,
                callbacks=[RosterCallback(roster)],
                stop=DrainStopper(roster),
                failure_config=tune.FailureConfig(max_failures=roster.limits.losses),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        tuner.fit()


@contextmanager
def _tune_environment() -> Iterator[None]:
    """Set Tune's switches and mend its handling of workers that die in unexpected ways."""
    before = {key: os.environ.get(key) for key in TUNE_ENVIRONMENT}
    os.environ.update(TUNE_ENVIRONMENT)
    level = logging.getLogger("ray.tune").level
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _treat_as_lost_worker()
    # No usage is reported; to count the callbacks Tune would import MLflow, for 3 s.
    air_usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        logging.getLogger("ray.tune").setLevel(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value


def _treat_as_lost_worker() -> None:
    """Let Tune take every way of losing a worker as that.

    Ray 2.60's actor manager knows RayActorError and RayTaskError only and ends the whole
    experiment (`Caught unexpected exception`) when the memory monitor kills one trial
    (OutOfMemoryError) or a node dies in a less usual way.
    """
    actor_manager.RayActorError = LOST
    tune_controller.RayActorError = LOST


def _trial_name(trial: Any) -> str:
    return f"{trial.config['number']:04d}-{trial.trial_id}"


def _last_line(path: str | None) -> str:
    if path is None or not os.path.exists(path):
        return "no reason given"
    with open(path) as file:
        lines = [line.strip() for line in file if line.strip()]
    # Ray follows the reason with a paragraph of guesses.
    return lines[-1].split(". Some common causes")[0][:300] if lines else "no reason given"
