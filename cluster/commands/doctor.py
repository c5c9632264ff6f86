"""`s4sweep doctor`: find, and with --fix put right, what dead processes have left in the home."""

from __future__ import annotations

import argparse

from sweeps.plural import plural

HELP = """find what dead processes have left in the home, and put it right

  s4sweep doctor             stale locks, half files, half-built caches, epochs MLflow lacks
  s4sweep doctor --fix       put all of that right
  s4sweep doctor --fix --close    also give up the trials that nobody runs (`resume` would not)
(`s4sweep cluster doctor` examines the nodes of a cluster.)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix", action="store_true", help="put right what can be")
    parser.add_argument("--close", action="store_true", help="trials that nobody runs have failed")
    parser.add_argument("--deep", action="store_true", help="read every checkpoint (slow)")
    parser.add_argument("--tracking-uri", help="the MLflow store (default: the home's own)")


def main(args: argparse.Namespace) -> int:
    from cluster import repair
    from sweeps import home
    from sweeps.hints import hint

    left = 0
    mended: set[str] = set()
    faults = repair.look(home(), close=args.close, deep=args.deep, uri=args.tracking_uri)
    for fault in faults:
        if fault.act is not None and args.fix:
            print(f"{fault.where}: {fault.what}: {fault.act()}")
            if fault.sweep is not None:
                mended.add(fault.sweep)
        else:
            left += fault.act is not None
            print(f"{fault.where}: {fault.what}")
    for name in sorted(mended):
        repair.send(name)
    if left:
        print(f"{plural(left, 'fault')}; `{hint('doctor --fix')}` puts them right.")
    else:
        print(f"{home()} is in order.")
    return int(left > 0)
