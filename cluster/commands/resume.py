"""`s4sweep resume NAME`: go on with a sweep, or train one of its trials further."""

from __future__ import annotations

import argparse

from cluster.arguments import whole
from cluster.commands.run import add_run_arguments, set_environment
from cluster.submit import add_module_argument

HELP = """go on with a sweep that was stopped or killed, or train one trial of it further

  s4sweep resume NAME                        what is finished is not run again; lifts `pause`
  s4sweep resume NAME --trials +20           the same with 20 trials more
  s4sweep resume NAME --best --epochs +5     train the best trial 5 epochs more
  s4sweep resume NAME --trial 7 --epochs 40  train trial 7 to its 40th epoch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trials", metavar="[+]N", help="let it have N trials in all, or with + so many more"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--best", action="store_true", help="train the best trial further")
    which.add_argument("--trial", type=whole(0), metavar="N", help="train trial N further")
    parser.add_argument(
        "--epochs",
        metavar="[+]N",
        help="with --best or --trial: to epoch N, or with + so many more",
    )
    parser.add_argument(
        "--detach", "-d", action="store_true", help="with a URL as --address: do not follow the log"
    )
    add_module_argument(parser)
    parser.add_argument(
        "--insecure", action="store_true", help="talk to a cluster without token or encryption"
    )
    add_run_arguments(parser)


def main(args: argparse.Namespace) -> int:
    from cluster.jobs import is_url, named_address

    args.address = args.address or named_address()
    return _submit(args) if is_url(args.address) else _run(args)


def _submit(args: argparse.Namespace) -> int:
    """Send the next attempt to the cluster at a URL, as a job."""
    from cluster import submit
    from cluster.errors import Running
    from cluster.parcel import Parcel, refuse_password

    refuse_password(args.tracking_uri or "")
    options = ("trials", "trial", "epochs", "tracking_uri")
    flags = ("best", "no_tracking", "no_test", "json", "quiet")
    words = []
    for name in options:
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    words += [f"--{name.replace('_', '-')}" for name in flags if getattr(args, name)]
    try:
        cluster, job = submit.resubmit(
            args.name,
            words,
            address=args.address,
            parcel=Parcel(modules=tuple(args.module)),
            insecure=args.insecure,
        )
    except Running:
        # It may be paused, which the home knows: there it is lifted, or the second driver refused.
        there = ["resume", args.name, "--address", "auto", *words]
        return submit.relay(args.address, there, insecure=args.insecure)
    return submit.stay_or_leave(cluster, job, name=args.name, detach=args.detach)


def _run(args: argparse.Namespace) -> int:
    set_environment(args)
    from cluster.ending import run_and_tell
    from cluster.errors import UserError
    from sweeps import Study, home
    from sweeps.hints import hint
    from sweeps.lease import driver_of
    from sweeps.remote_home import steered

    one = args.best or args.trial is not None
    if one and args.epochs is None:
        raise UserError("how much further? Say --epochs +5 (five more) or --epochs 40 (in all).")
    if args.epochs is not None and not one:
        raise UserError("--epochs needs a trial to train further: --best or --trial N.")
    if one and args.trials is not None:
        raise UserError("--trials goes with the whole sweep, not with --best or --trial.")
    study = Study.open(args.name, home())
    held = driver_of(study.folder)
    if held is not None and (one or args.trials is not None):
        raise UserError(
            f"{args.name} is driven by process {held['pid']} on {held['host']}: stop it first "
            f"(`{hint(f'stop {args.name}')}`), or `{hint(f'extend {args.name} --trials +N')}`."
        )
    if study.paused:
        with steered(study):
            study.paused = False
        if held is not None:
            print(f"no longer paused; process {held['pid']} on {held['host']} goes on with it.")
            return 0
    if args.trials is not None:
        study.extend(_wanted(args.trials, "--trials", study.target) - study.target)
    if one:
        number = _best(study) if args.best else args.trial
        study.trial_spec(number)  # raises for a number that is none
        trained = next(t.epochs for t in study.result().trials if t.number == number)
        study.reopen(number, epochs=_wanted(args.epochs, "--epochs", trained))
        return run_and_tell(study, args, only=number)
    return run_and_tell(study, args)


def _best(study: object) -> int:
    from cluster.errors import UserError

    best = study.result().best  # type: ignore[attr-defined]
    if best is None:
        raise UserError("the sweep has no finished epoch yet, and so no best trial.")
    number: int = best.number
    return number


def _wanted(text: str, option: str, before: int) -> int:
    """Read "+5" (so many more than `before`) or "40" (in all)."""
    from cluster.errors import UserError

    digits = text.removeprefix("+")
    if not digits.isdecimal() or int(digits) == 0:
        raise UserError(f"{option} wants a number like 40 or +5, got {text!r}.")
    wanted = before + int(digits) if text.startswith("+") else int(digits)
    if wanted <= before:
        raise UserError(f"{option} {text}: there are {before} already.")
    return wanted
