"""The `00-summary` run: what the sweep has come to, one step for each trial that has ended."""

from __future__ import annotations

from collections import Counter

from dashboards import runs, views
from dashboards.leaderboard import chosen, table
from dashboards.record import SweepRecord
from dashboards.sender import Sender
from sweeps.plural import plural
from sweeps.types import SweepResult, TrialState

RUN_NAME = "00-summary"
TRIAL = -1  # the trial number in the tag of this run, so that it is found as the others are


def send(sender: Sender, *, over: bool) -> None:
    """Bring the summary run up to date: best-so-far curve, counts, cost, leaderboard, files.

    Once the sweep is over the best trial's run gets its checkpoint too.
    """
    record, shipped = sender.record, sender.shipped
    result = record.ended()
    stamp = _stamp(record, result, over)
    if stamp == shipped.summary_stamp:
        return
    run_id = shipped.summary_run_id or _start(sender)
    new = [point for point in _points(result) if point[3] > shipped.summary_ended]
    sender.log(run_id, points=new, tags=_tags(result, over))
    sender.client.log_dict(run_id, table(result), "leaderboard.json")
    views.send(sender, result.objective)
    if over:
        _send_best(sender, result)
        _send_report(sender, run_id)
        sender.client.set_terminated(run_id, "FINISHED")
    else:
        sender.client.update_run(run_id, status="RUNNING")
    shipped.summary_ended, shipped.summary_stamp = len(result.trials), stamp


def _stamp(record: SweepRecord, result: SweepResult, over: bool) -> str:
    """Changes when a trial has ended, the sweep is over, or the best trial has been tested."""
    last = max((t.ended or 0.0 for t in result.trials), default=0.0)
    tested = result.best is not None and record.trial(result.best.number).test()
    return str([over, len(result.trials), last, tested])


def _start(sender: Sender) -> str:
    record, client = sender.record, sender.client
    tags = {**runs.source_tags(record.name), "trial": str(TRIAL), "sweep": record.name}
    tags["mlflow.loggedArtifacts"] = '[{"path": "leaderboard.json", "type": "table"}]'
    began = int(record.folder.stat().st_ctime * 1000)
    run_id = sender.orphans.get(TRIAL)
    if run_id is None:
        run = client.create_run(sender.experiment_id, began, tags, RUN_NAME)
        run_id = str(run.info.run_id)
    sender.orphans[TRIAL] = run_id
    if (record.folder / "sweep.yaml").exists():
        client.log_artifact(run_id, str(record.folder / "sweep.yaml"))
    sender.shipped.summary_run_id = run_id
    return run_id


def _points(result: SweepResult) -> list[runs.Point]:
    """Best so far, counts by state and hours spent, after each trial that ended."""
    goal = result.objective
    points: list[runs.Point] = []
    counts: Counter[str] = Counter({state.value: 0 for state in TrialState if state.is_finished})
    best: float | None = None
    seconds = 0.0
    for step, trial in enumerate(result.trials, 1):
        counts[trial.state.value] += trial.state.is_finished
        seconds += trial.seconds
        if trial.is_ranked and trial.value is not None:
            best = trial.value if goal.is_better(trial.value, best) else best
        values = {f"sweep/trials_{state}": float(count) for state, count in counts.items()}
        values["sweep/trial_hours"] = seconds / 3600
        if best is not None:
            values["sweep/best"] = best
        at = int((trial.ended or 0) * 1000)
        points += [(name, value, at, step) for name, value in values.items()]
    return points


def _tags(result: SweepResult, over: bool) -> dict[str, str]:
    tags = {"state": "over" if over else "running"}
    best = result.best
    if best is not None:
        number = runs.run_name(best.number)
        tags |= {"best_trial": number, "best_value": str(best.value)}
        tags["mlflow.note.content"] = (
            f"Best of {plural(len(result.trials), 'trial')}: **{number}**, "
            f"{result.objective.metric} {best.value:.4f} with {chosen(best.params)}.\n\n"
            "`report.html`, among the artifacts, shows the sweep from every side.\n\n"
            f"    s4sweep resume {result.name} --best --epochs +5\n"
        )
    return tags


def _send_report(sender: Sender, run_id: str) -> None:
    from dashboards.report import write_report  # plotly and optuna, 1 s

    try:
        path = write_report(sender.record.home, sender.record.name)
    except Exception as error:  # a report that cannot be made must not keep the rest from MLflow
        sender.refuse(f"report: {type(error).__name__}: {error}")
    else:
        sender.client.log_artifact(run_id, str(path))


def _send_best(sender: Sender, result: SweepResult) -> None:
    best = result.best
    known = None if best is None else sender.shipped.trials.get(best.number)
    if best is None or known is None:
        return
    checkpoint = sender.record.trial(best.number).folder / "best.pt"
    if checkpoint.exists():
        sender.client.log_artifact(known.run_id, str(checkpoint), "checkpoint")
