"""`s4sweep cluster ...`: start, look at, check and describe the clusters that sweeps run on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cluster.arguments import whole
from sweeps.plural import plural

HELP = """start a cluster on this machine, check one, or write the files that start one elsewhere

  s4sweep cluster up --local 2               a head and two nodes as real Ray nodes, here
  s4sweep cluster status                     its nodes
  s4sweep cluster doctor                     what is wrong with it, node by node, and the way out
  s4sweep cluster down                       end it
  s4sweep cluster render kuberay --gpus 8    a cluster file: kuberay slurm ray-up compose dockerfile
  s4sweep cluster token                      make the token that every cluster asks for"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = _action(actions, "up", "start a real multi-node Ray cluster on this machine")
    up.add_argument(
        "--local", type=whole(1), required=True, metavar="N", help="nodes beside the head"
    )
    up.add_argument(
        "--cpus", type=whole(1), metavar="C", help="CPUs of a node (default: an equal share)"
    )
    up.add_argument(
        "--gpus", type=whole(0), default=0, metavar="G", help="GPUs of a node (default: 0)"
    )
    down = _action(actions, "down", "end a cluster that `up` started")
    status = _action(actions, "status", "show the nodes of a cluster")
    for action in (up, down, status):
        action.add_argument("--name", default="local", help="name of the cluster (default: local)")
    doctor = _action(actions, "doctor", "check every node and say what to fix")
    doctor.add_argument("--mlflow", metavar="URI", help="tracking server that nodes must reach")
    for action in (status, doctor):
        action.add_argument("--address", metavar="URL", help="http(s)://HEAD:8265 of the cluster")
        action.add_argument("--json", action="store_true", help="print JSON")
    _action(actions, "token", "make the token file if there is none, and print its path")
    _add_render(actions)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text)
    # The options of every command, which would else be legal only in front of the action; a
    # rendered file has a --home of its own.
    if name != "render":
        action.add_argument("--home", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    action.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    return action


def _add_render(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from cluster.render import KINDS, SETTINGS, USES

    render = _action(actions, "render", "print a file that starts a cluster somewhere else")
    render.add_argument("kind", choices=KINDS)
    render.add_argument("--output", "-o", type=Path, metavar="FILE", help="write it there")
    for name, setting in SETTINGS.items():
        kinds = ", ".join(kind for kind in KINDS if name in USES[kind])
        default = f"; default {setting.default}" if setting.default else ""
        render.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            metavar="N" if isinstance(setting.default, int) else "TEXT",
            dest=f"setting_{name}",
            help=f"{setting.help} ({kinds}{default})",
        )


def main(args: argparse.Namespace) -> int:
    return {
        "up": _up,
        "down": _down,
        "status": _status,
        "doctor": _doctor,
        "token": _token,
        "render": _render,
    }[args.action](args)


def _up(args: argparse.Namespace) -> int:
    from cluster import auth, nodes
    from sweeps import home

    cpus = args.cpus if args.cpus is not None else max(1, (os.cpu_count() or 1) // args.local)
    cluster = nodes.up(str(home()), workers=args.local, cpus=cpus, gpus=args.gpus, name=args.name)
    gpus = f" and {plural(args.gpus, 'GPU')}" if args.gpus else ""
    size = f"{plural(args.local, 'node')} of {plural(cpus, 'CPU')}{gpus}"
    print(f"cluster {cluster.name!r} is up: a head and {size}")
    print("  s4sweep submit sweep.yaml     runs a sweep on it")
    print(f"  {cluster.dashboard}        Ray's dashboard (token: {auth.token_path()})")
    print(f"  {cluster.address}             for s4sweep run --address")
    print("  s4sweep cluster down          ends it")
    return 0


def _down(args: argparse.Namespace) -> int:
    from cluster import nodes
    from cluster.errors import UserError

    cluster = nodes.load(args.name)
    if cluster is None:
        raise UserError(f"no cluster {args.name!r} was started on this machine.")
    print(f"cluster {args.name!r} is down: {nodes.down(cluster)} processes ended")
    return 0


def _status(args: argparse.Namespace) -> int:
    import json

    from cluster import jobs, ray_http

    address = jobs.find_address(args.address, name=args.name)
    rows = [ray_http.describe(node) for node in ray_http.alive_nodes(address)]
    if args.json:
        print(json.dumps({"address": address, "nodes": rows}))
        return 0
    print(f"{address}: {plural(len(rows), 'node')} alive")
    for row in rows:
        role = "head  " if row["head"] else "worker"
        has = f"{plural(row['cpus'], 'CPU')}, {plural(row['gpus'], 'GPU')}"
        print(
            f"  {role} {row['host']:<24} {has}, "
            f"{row['memory_gb']:.1f} GB of memory, load {row['load']:.1f}"
        )
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from cluster.doctor import main as examine

    return examine(args.address, mlflow=args.mlflow, as_json=args.json)


def _token(args: argparse.Namespace) -> int:
    from cluster import auth

    print(auth.ensure_token())
    return 0


def _render(args: argparse.Namespace) -> int:
    from cluster import render

    prefix = "setting_"
    given = {k.removeprefix(prefix): v for k, v in vars(args).items() if k.startswith(prefix)}
    text = ""
    if args.kind == "kuberay" and "sweep" in given:
        text = render.read_sweep(given["sweep"])
    made = render.render(args.kind, given, sweep_text=text)
    if args.output is None:
        print(made, end="")
    else:
        args.output.write_text(made)
    return 0
