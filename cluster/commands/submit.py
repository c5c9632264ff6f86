"""`s4sweep submit FILE`: run a sweep on a cluster, from any machine that reaches its dashboard."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.arguments import whole

HELP = """run a sweep on a cluster; what runs there goes on when this machine is closed

  s4sweep submit sweep.yaml                      on the cluster of `s4sweep cluster up`
  s4sweep submit sweep.yaml --address https://head:8265 --detach
  s4sweep submit sweep.yaml --dry-run            check everything that can be checked beforehand"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument, add_module_argument

    parser.add_argument("file", type=Path, metavar="FILE", help="the sweep's YAML")
    parser.add_argument("--name", help="call the sweep so, whatever the file says")
    parser.add_argument("--detach", "-d", action="store_true", help="do not follow the log")
    parser.add_argument("--dry-run", action="store_true", help="check, and submit nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: print JSON")
    parser.add_argument(
        "--allow-imports", action="store_true", help="let names like my_lab.foo import code"
    )
    parser.add_argument(
        "--trials", type=whole(1), metavar="N", help="as many trials, whatever it says"
    )
    parser.add_argument("--no-tracking", action="store_true", help="send nothing to MLflow")
    parser.add_argument("--no-test", action="store_true", help="do not test the best trial")
    add_module_argument(parser)
    parser.add_argument("--cluster-home", metavar="FOLDER", help="home, as the nodes see it")
    parser.add_argument("--mlflow", metavar="URI", help="tracking server, as the nodes see it")
    parser.add_argument(
        "--pip", action="store_true", help="install our dependencies on the nodes (slow)"
    )
    add_address_argument(parser)


def main(args: argparse.Namespace) -> int:
    from cluster import jobs, submit
    from cluster.parcel import Parcel

    if args.dry_run:
        from cluster import preflight

        return preflight.main(args)
    address = jobs.find_address(args.address)
    parcel = Parcel(
        home=args.cluster_home,
        mlflow=args.mlflow,
        sweep=args.file,
        modules=tuple(args.module),
        pip=args.pip,
    )
    arguments = ["--trials", str(args.trials)] if args.trials is not None else []
    arguments += ["--no-tracking"] if args.no_tracking else []
    arguments += ["--no-test"] if args.no_test else []
    cluster, job = submit.submit(
        parcel,
        arguments,
        address=address,
        insecure=args.insecure,
        allow_imports=args.allow_imports,
        name=args.name,
    )
    name = job.removeprefix("sweep-").rsplit("-", 1)[0]
    return submit.stay_or_leave(cluster, job, name=name, detach=args.detach)
