"""`s4sweep stop NAME`: ask the driver of a sweep to stop it, or one trial; nothing is lost."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.arguments import whole
from cluster.errors import FailedRun

if TYPE_CHECKING:
    from data_prep.remote import Mirror

HELP = """stop a running sweep, or one of its trials, after the epoch in hand

  s4sweep stop NAME             the sweep; `s4sweep resume NAME` goes on with it
  s4sweep stop NAME --trial 7   that trial alone: it counts as pruned, and the sweep goes on"""
POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--now", action="store_true", help="do not wait for the epochs in hand")
    what.add_argument("--trial", type=whole(0), metavar="N", help="stop this trial alone")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="wait so long for it to be over"
    )


def main(args: argparse.Namespace) -> int:
    from cluster.control import request_stop
    from dashboards.record import SweepRecord
    from sweeps import home
    from sweeps.hints import hint
    from sweeps.remote_home import mirror

    sweep = SweepRecord.of(home(), args.name)
    if args.trial is not None:
        return _stop_trial(args)
    if not sweep.is_driven():
        print(f"no driver is at work on {args.name}.")
        return 0
    there = mirror()
    if there is not None:
        return _stop_there(there, args)
    request_stop(sweep.folder, "now" if args.now else "drain")
    _wait(lambda: not sweep.is_driven(), args.name, args.timeout)
    print(f"stopped; `{hint(f'resume {args.name}')}` goes on.")
    return 0


def _stop_trial(args: argparse.Namespace) -> int:
    """Have one trial stopped, and wait until it is, or until nobody runs it any more."""
    from cluster.control import idle_hint
    from sweeps import Study, home
    from sweeps.lease import driver_of
    from sweeps.remote_home import steered

    study = Study.open(args.name, home())
    before = study.ledger.result(args.trial)
    if before.state.is_finished:
        print(f"trial {args.trial} has ended already: {before.state.value}.")
        return 0
    with steered(study):
        study.stop_trial(args.trial)

    def is_over() -> bool:
        ended = study.ledger.result(args.trial).state.is_finished
        return ended or driver_of(study.folder) is None

    _wait(is_over, f"trial {args.trial} of {args.name}", args.timeout)
    ended = study.ledger.result(args.trial)
    if ended.state.is_finished:
        print(f"trial {args.trial}: {ended.state.value} after epoch {ended.epochs}")
        return 0
    print(f"trial {args.trial} will be stopped after its next epoch")
    print(idle_hint(study.folder), end="")
    return 0


def _stop_there(there: Mirror, args: argparse.Namespace) -> int:
    """Ask through the object store that holds the home; the driver looks every few seconds."""
    import json

    from sweeps.hints import hint
    from sweeps.lease import is_alive

    sweep = f"sweeps/{args.name}"
    how = {"how": "now" if args.now else "drain", "time": time.time()}
    there.write(f"{sweep}/stop.json", json.dumps(how).encode())

    def is_over() -> bool:
        lock = there.read(f"{sweep}/lock.json")
        return lock is None or not is_alive(json.loads(lock))

    _wait(is_over, args.name, args.timeout, 2 * POLL_S)
    print(f"stopped; `{hint(f'resume {args.name}')}` goes on.")
    return 0


def _wait(
    is_over: Callable[[], bool], what: str, timeout_s: float, every_s: float = POLL_S
) -> None:
    until = time.monotonic() + timeout_s
    while not is_over():
        if time.monotonic() > until:
            raise FailedRun(f"{what} was asked to stop and has not in {timeout_s:.0f} s.")
        time.sleep(every_s)
