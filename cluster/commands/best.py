"""`s4sweep best NAME`: the best trial, or the spec that runs it again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cluster.arguments import whole

if TYPE_CHECKING:
    from sweeps import Study

HELP = "show the best trial of a sweep; --yaml prints a spec that runs it again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="this trial in place of the best"
    )
    parser.add_argument("--top", type=whole(1), metavar="N", help="the N best trials")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--yaml", action="store_true", help="print a spec that runs it again")
    shown.add_argument("--json", action="store_true", help="print one JSON object (a list: --top)")


def main(args: argparse.Namespace) -> int:
    import json

    from cluster.errors import UserError
    from sweeps import Study, home
    from sweeps.lease import driver_of

    study = Study.open(args.name, home())
    result = study.result()
    if args.trial is not None:
        study.trial_spec(args.trial)  # raises for a number that is none
        chosen = [t for t in result.trials if t.number == args.trial]
    else:
        chosen = list(result.ranked[: args.top or 1])
    if not chosen:
        raise UserError(f"sweep {args.name!r} has no trial with a value yet.")
    if args.yaml:
        _print_yaml(study, chosen[0].number)
        return 0
    if args.json:
        shown = [{**t.to_json(), "folder": str(study.trial_folder(t.number))} for t in chosen]
        print(json.dumps(shown if args.top else shown[0]))
        return 0
    from dashboards.leaderboard import others_said, state_word

    metric = study.spec.objective.metric
    driven = driver_of(study.folder) is not None
    for trial in chosen:
        value = "no value" if trial.value is None else f"{metric} {trial.value:.4f}"
        spread = f" +- {trial.spread:.4f} over {len(trial.repeats)} seeds" if trial.spread else ""
        where = f" at epoch {trial.best_epoch} of {trial.epochs}" if trial.best_epoch else ""
        state = state_word(trial, driven=driven)
        others = others_said(result, trial)
        print(f"trial {trial.number} ({state}): {value}{spread}{others}{where}")
        for name, chosen_value in trial.params.items():
            print(f"  {name}: {chosen_value}")
        print(f"  folder: {study.trial_folder(trial.number)}")
    if len(study.spec.objectives) > 1:
        numbers = ", ".join(str(t.number) for t in result.front)
        print(f"front (no trial is better in every objective): {numbers}")
    return 0


def _print_yaml(study: Study, number: int) -> None:
    import sys

    from cluster import capture
    from sweeps.rerun import rerun_yaml

    before = capture.ran_with(study, number)
    print(rerun_yaml(study, number, ran_with=before), end="")
    here = capture.describe([capture.this_machine()])
    for line in capture.deviations(before, here):
        # A comment in YAML: a command that was relayed has one stream for both.
        print(f"# on this machine it cannot be quite the same: {line}", file=sys.stderr)
