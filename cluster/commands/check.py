"""`s4sweep check FILE...`: read sweeps and say everything that is wrong with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sweeps.plural import plural

HELP = """read a sweep's YAML and say what is wrong with it; --plan shows what it would run

  s4sweep check sweep.yaml                       mistakes, each with its line
  s4sweep check sweep.yaml --plan                configurations, sizes, memory, hours here
  s4sweep check sweep.yaml --plan --address URL  the same where it would run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument, add_module_argument

    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="YAML files of sweeps")
    parser.add_argument("--plan", action="store_true", help="show what would run, and how long")
    parser.add_argument("--no-probe", action="store_true", help="with --plan: train nothing")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema for editors")
    parser.add_argument(
        "--allow-imports", action="store_true", help="names may be your own modules (runs them)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_module_argument(parser)
    add_address_argument(parser)


def main(args: argparse.Namespace) -> int:
    import json
    import sys

    from cluster.errors import UserError
    from sweeps import home, load_spec
    from sweeps.mistakes import find_mistakes
    from sweeps.plan import make_plan
    from sweeps.remarks import remarks
    from sweeps.schema import sweep_schema

    if args.schema:
        print(json.dumps(sweep_schema(), indent=2))
        return 0
    if not args.files:
        raise UserError("check wants one or more FILEs (or --schema).")
    if args.plan and args.address:
        return _there(args)
    found: dict[str, list[str]] = {}
    plans, notes = {}, {}
    for file in args.files:
        found[str(file)] = [str(e) for e in find_mistakes(file, allow_imports=args.allow_imports)]
        if found[str(file)]:
            continue
        spec = load_spec(file, allow_imports=args.allow_imports)
        missing, wrong = _data(spec)
        remarked = remarks(spec.search)
        notes[str(file)] = [*missing, *remarked]
        found[str(file)] = [f"{file}: data: {line}" for line in wrong]
        if not args.json and not wrong:
            print(f"{file}: good, {_summary(spec)}")
            told = [f"not on this machine: {line}" for line in missing]
            print(*(f"  {line}\n" for line in [*told, *remarked]), sep="", end="")
        if args.plan:
            room, fits, is_cluster = _room(spec)
            plan = make_plan(spec, home(), probe=not args.no_probe, fits=fits)
            plans[str(file)] = {**plan.to_json(), "room": room}
            if not fits and is_cluster:
                found[str(file)].append(f"{file}: {room}.")
            if not args.json:
                print(f"{plan.text}\n  {room}")
    if args.json:
        shown = {
            f: {"mistakes": lines, "notes": notes.get(f, []), "plan": plans.get(f)}
            for f, lines in found.items()
        }
        print(json.dumps(shown))
    for lines in found.values():
        for line in lines:
            print(line, file=sys.stderr)
    return 2 if any(found.values()) else 0


def _data(spec: Any) -> tuple[list[str], list[str]]:
    """What a short look at the user's own files says: those that are not here, and what is wrong.

    A sweep may be meant for a cluster that has the files.
    """
    from data_prep import DataError, MissingRaw, look
    from sweeps import home
    from sweeps.files import options_of

    missing, wrong = [], []
    for block in spec.data_blocks():
        try:
            look(str(block["name"]), options_of(block), home=home())
        except MissingRaw as error:
            missing.append(str(error))
        except DataError as error:
            wrong.append(str(error))
    return missing, wrong


def _room(spec: Any) -> tuple[str, int, bool]:
    """How many trials fit into the cluster that we are inside of, or else into this machine."""
    from cluster.jobs import address_inside
    from cluster.placement import this_machine
    from cluster.preflight import check_cluster
    from cluster.runtime import ray_running

    inside = address_inside()
    if inside is None:
        room, fits = check_cluster(spec, [this_machine()])
        return f"this machine: {room.what}", fits, False
    with ray_running(inside):
        room, fits = check_cluster(spec)
    return f"the cluster: {room.what}", fits, True


def _there(args: argparse.Namespace) -> int:
    """Plan on the cluster, where the data, the machines and their speed are."""
    from cluster.errors import UserError
    from cluster.parcel import Parcel
    from cluster.submit import relay

    if len(args.files) != 1:
        raise UserError(f"--plan wants one FILE for the cluster at {args.address}.")
    flags = {"--no-probe": args.no_probe, "--json": args.json}
    flags["--allow-imports"] = args.allow_imports
    parcel = Parcel(sweep=args.files[0], modules=tuple(args.module))
    words = ["check", "--plan", *(flag for flag, is_on in flags.items() if is_on)]
    words.append(parcel.sweep_name())
    return relay(args.address, words, parcel=parcel, insecure=args.insecure)


def _summary(spec: Any) -> str:
    size = spec.space.size()
    space = "a continuous space" if size is None else plural(size, "configuration")
    return (
        f"{plural(spec.search.trials, 'trial')} of {space} by {spec.search.sampler['name']}, "
        f"pruner {spec.search.pruner['name']}"
    )
