"""`s4sweep stop NAME`: ask the driver of a sweep to stop; nothing is lost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_prep.remote import Mirror

HELP = "stop a running sweep after the epochs in hand; `s4sweep resume` goes on with it"
POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument("--now", action="store_true", help="do not wait for the epochs in hand")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="wait so long for it to be over"
    )


def main(args: argparse.Namespace) -> int:
    import time

    from cluster.control import request_stop
    from cluster.errors import FailedRun
    from dashboards.record import SweepRecord
    from sweeps import home
    from sweeps.remote_home import mirror

    sweep = SweepRecord.of(home(), args.name)
    if not sweep.is_driven():
        print(f"no driver is at work on {args.name}.")
        return 0
    there = mirror()
    if there is not None:
        return _stop_there(there, args)
    request_stop(sweep.folder, "now" if args.now else "drain")
    until = time.monotonic() + args.timeout
    while sweep.is_driven():
        if time.monotonic() > until:
            raise FailedRun(f"{args.name} was asked to stop and has not in {args.timeout:.0f} s.")
        time.sleep(POLL_S)
    print(f"stopped; `s4sweep resume {args.name}` goes on.")
    return 0


def _stop_there(there: Mirror, args: argparse.Namespace) -> int:
    """Ask through the object store that holds the home; the driver looks every few seconds."""
    import json
    import time

    from cluster.errors import FailedRun

    sweep = f"sweeps/{args.name}"
    how = {"how": "now" if args.now else "drain", "time": time.time()}
    there.write(f"{sweep}/stop.json", json.dumps(how).encode())
    until = time.monotonic() + args.timeout
    while there.look(f"{sweep}/lock.json") is not None:
        if time.monotonic() > until:
            raise FailedRun(f"{args.name} was asked to stop and has not in {args.timeout:.0f} s.")
        time.sleep(2 * POLL_S)
    print(f"stopped; `s4sweep resume {args.name}` goes on.")
    return 0
