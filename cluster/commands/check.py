"""`s4sweep check FILE...`: read sweeps and say everything that is wrong with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "read a sweep's YAML and say what is wrong with it; --plan shows what it would run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="YAML files of sweeps")
    parser.add_argument("--plan", action="store_true", help="show what would run, and how long")
    parser.add_argument("--no-probe", action="store_true", help="with --plan: train nothing")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema for editors")
    parser.add_argument(
        "--allow-imports", action="store_true", help="names may be your own modules (runs them)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    import json
    import sys

    from cluster.errors import UserError
    from sweeps import home, load_spec
    from sweeps.mistakes import find_mistakes
    from sweeps.plan import make_plan
    from sweeps.schema import sweep_schema

    if args.schema:
        print(json.dumps(sweep_schema(), indent=2))
        return 0
    if not args.files:
        raise UserError("check wants one or more FILEs (or --schema).")
    found: dict[str, list[str]] = {}
    plans = {}
    for file in args.files:
        found[str(file)] = [str(e) for e in find_mistakes(file, allow_imports=args.allow_imports)]
        if found[str(file)]:
            continue
        spec = load_spec(file, allow_imports=args.allow_imports)
        if args.plan:
            plans[str(file)] = make_plan(spec, home(), probe=not args.no_probe)
        if not args.json:
            print(f"{file}: good, {_summary(spec)}")
            if args.plan:
                print(plans[str(file)].text)
    if args.json:
        shown = {
            file: {"mistakes": lines, "plan": plans[file].to_json() if file in plans else None}
            for file, lines in found.items()
        }
        print(json.dumps(shown))
    for lines in found.values():
        for line in lines:
            print(line, file=sys.stderr)
    return 2 if any(found.values()) else 0


def _summary(spec: Any) -> str:
    size = spec.space.size()
    space = "a continuous space" if size is None else f"{size} configurations"
    return (
        f"{spec.search.trials} trials of {space} by {spec.search.sampler['name']}, "
        f"pruner {spec.search.pruner['name']}"
    )
