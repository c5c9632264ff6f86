"""`s4sweep sync [NAME]`: bring MLflow up to date with the home, or build it anew from there."""

from __future__ import annotations

import argparse

from sweeps.plural import plural

HELP = "bring MLflow up to date with what is on disk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the sweep (default: every sweep)")
    parser.add_argument("--tracking-uri", help="the MLflow store (default: the home's own)")


def main(args: argparse.Namespace) -> int:
    from dashboards.shipper import lag, sync
    from sweeps import home, sweep_names

    for name in [args.name] if args.name else sweep_names(home()):
        lines = lag(home(), name, args.tracking_uri).lines
        experiment = sync(home(), name, args.tracking_uri)
        print(f"{name}: {plural(lines, 'epoch')} sent to MLflow experiment {experiment}")
    return 0
