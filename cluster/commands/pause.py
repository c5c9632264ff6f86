"""`s4sweep pause NAME`: a running driver starts nothing new until `resume`."""

from __future__ import annotations

import argparse

HELP = "let a running sweep start no further trial; `s4sweep resume` lifts it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")


def main(args: argparse.Namespace) -> int:
    from sweeps import Study, home
    from sweeps.hints import hint
    from sweeps.lease import driver_of
    from sweeps.remote_home import steered

    study = Study.open(args.name, home())
    if driver_of(study.folder) is None:
        print(f"no driver is at work on {args.name}.")
        return 0
    with steered(study):
        study.paused = True
    print(f"paused; what runs goes on to its end, and `{hint(f'resume {args.name}')}` lifts it.")
    return 0
