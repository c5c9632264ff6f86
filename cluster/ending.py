"""What every command that runs a driver does: run, then say how it ended and how to go on."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TextIO

from cluster.cost import Cost
from cluster.driver import Ended, Settings, drive
from cluster.live import choose, console
from cluster.placement import placement_of
from dashboards.leaderboard import leaderboard, others_said
from sweeps import Study, home
from sweeps.files import read_json
from sweeps.hints import hint, is_job
from sweeps.plural import plural
from sweeps.record import ENDED_FILE
from sweeps.results import published_of


def run_and_tell(study: Study, args: argparse.Namespace, *, only: int | None = None) -> int:
    """Run what is left of a study; returns the exit status.

    0: all trials are in; 1: it ended early, or every trial failed; 130: interrupted.
    only: run this trial and no other.
    """
    settings = Settings(
        address=args.address,
        tracking_uri=args.tracking_uri,
        track=not args.no_tracking,
        test=not args.no_test,
        only=only,
    )
    mode = "json" if args.json else "quiet" if args.quiet else "auto"
    show = choose(
        mode, known=study.result(), target=lambda: study.target, trial_folder=study.trial_folder
    )
    ended = drive(study, home(), show=show, settings=settings)
    if args.json:
        print(json.dumps({"event": "end", **_summary(study, ended)}))
    else:
        tell(study, ended, sys.stdout)
    if ended.interrupted:
        return 130
    return 1 if ended.stopped or ended.result.best is None else 0


def tell(study: Study, ended: Ended, out: TextIO) -> None:
    """Print the leaderboard, the best trial's test and the commands to go on with."""
    name, best = study.spec.name, ended.result.best
    test = None
    if best is not None and ended.test:
        metric = study.spec.objective.metric.replace("val/", "test/")
        test = {best.number: ended.test[metric]} if metric in ended.test else None
    seen = console(out)
    seen.print(leaderboard(ended.result, test=test, driven=False, width=seen.width))
    if best is not None:
        metric = study.spec.objective.metric
        value = f"{metric} {best.value:.4f}{others_said(ended.result, best)}"
        words = [f"best: trial {best.number}, {value} at epoch {best.best_epoch}"]
        words += [f"{key} {value:.4f}" for key, value in sorted((ended.test or {}).items())]
        print("; ".join(words), file=out)
    print(*_beside_published(study, ended), sep="", end="", file=out)
    if ended.stopped:
        print(f"stopped: {ended.stopped}", file=out)
    elif (why := _ended_by(study)) is not None:
        print(f"ended: {why}", file=out)
    print(_cost(study, ended).line(), file=out)
    hints = {} if is_job() else {"browse": hint(f"dashboard {name}")}
    if ended.interrupted or ended.stopped:
        hints["continue"] = hint(f"resume {name}")
    elif best is not None:
        hints["train the best further"] = hint(f"resume {name} --best --epochs +5")
    width = max(map(len, hints), default=0) + 1
    print(
        "",
        *(f"  {what + ':':<{width}}  {command}" for what, command in hints.items()),
        sep="\n",
        file=out,
    )


def _ended_by(study: Study) -> str | None:
    """What ended the sweep, if not that all its trials are in."""
    ended = read_json(study.folder / ENDED_FILE)
    reason: str | None = None if ended is None else ended["reason"]
    return None if reason == plural(study.target, "trial") else reason


def _beside_published(study: Study, ended: Ended) -> Iterator[str]:
    """A line for each published experiment that was run here (`baselines`), and what it came to."""
    metric = study.spec.objective.metric
    for trial in ended.result.trials:
        if trial.label is None or trial.value is None:
            continue
        theirs = published_of(study, trial.number)
        if theirs is not None:
            ours = f"here {metric} {trial.value:.4f} (trial {trial.number})"
            yield f"{trial.label}: published {theirs.metric} {theirs.value:.4g}, {ours}\n"


def _cost(study: Study, ended: Ended) -> Cost:
    def asked(number: int) -> int | None:
        epochs = study.trial_spec(number).train.get("epochs")
        return epochs if isinstance(epochs, int) else None

    return Cost.of(ended.result, placement_of(study.spec), asked)


def _summary(study: Study, ended: Ended) -> dict[str, object]:
    best = ended.result.best
    return {
        "sweep": study.spec.name,
        "trials": [t.to_json() for t in ended.result.trials],
        "best": best.to_json() if best else None,
        "test": ended.test,
        "stopped": ended.stopped,
        "interrupted": ended.interrupted,
        "cost": vars(_cost(study, ended)),
    }
