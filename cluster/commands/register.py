"""`s4sweep register NAME`: the best model of a sweep into MLflow's model registry."""

from __future__ import annotations

import argparse

from cluster.arguments import add_imports_argument, whole

HELP = "put a sweep's best model into MLflow's model registry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="this trial instead of the best one"
    )
    parser.add_argument("--model", metavar="MODEL", help="name in the registry (the sweep's name)")
    add_imports_argument(parser)


def main(args: argparse.Namespace) -> int:
    from dashboards.registry import register
    from sweeps import home

    model, version = register(home(), args.name, model=args.model, trial=args.trial)
    print(f"registered: models:/{model}/{version}")
    return 0
