"""`s4sweep extend NAME --trials +20`: a running sweep takes it up by itself."""

from __future__ import annotations

import argparse
import re

from sweeps.plural import plural

HELP = "let a sweep have more trials, while it runs or afterwards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trials", required=True, metavar="[+]N", help="N in all, or with + so many more"
    )


def main(args: argparse.Namespace) -> int:
    from cluster.control import idle_hint
    from cluster.errors import UserError
    from sweeps import Study, home
    from sweeps.remote_home import steered

    if not re.fullmatch(r"[+-]?[0-9]+", args.trials):
        raise UserError(f"--trials wants a number like 40 or +20, got {args.trials!r}.")
    study = Study.open(args.name, home())
    by = int(args.trials) if args.trials[0] in "+-" else int(args.trials) - study.target
    with steered(study):
        target = study.extend(by)
    print(f"{args.name}: {plural(target, 'trial')} in all")
    print(idle_hint(study.folder), end="")
    return 0
