"""`s4sweep logs NAME`: what a sweep's driver says on a cluster, or what its trials report here."""

from __future__ import annotations

import argparse

from cluster.arguments import whole

HELP = """show the log of a sweep

  s4sweep logs NAME -f                           every report as it comes, from this home
  s4sweep logs NAME --trial 7                    one trial, and its error if it failed
  s4sweep logs NAME -f --address https://head:8265    the driver's own log on a cluster"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the sweep is over")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="only this trial (from the home)"
    )
    parser.add_argument("--attempt", type=whole(1), metavar="K", help="cluster: this attempt's log")
    add_address_argument(parser)


def main(args: argparse.Namespace) -> int:
    from cluster import jobs, nodes
    from cluster.errors import UserError

    local = nodes.load("local")
    distant = args.address or (local is not None and local.is_alive() and _has(args.name))
    if args.trial is not None and args.address:
        from cluster.submit import relay

        words = ["logs", args.name, "--trial", str(args.trial), *(["-f"] if args.follow else [])]
        return relay(args.address, words, insecure=args.insecure)
    if args.trial is not None or not distant:
        if args.attempt is not None:
            raise UserError("--attempt is for the log of a submitted sweep: add --address.")
        return _from_home(args)
    address = jobs.find_address(args.address)
    client = jobs.connect(address, insecure=args.insecure)
    found = jobs.attempts(client, args.name)
    if args.attempt is not None:
        found = [job for job in found if job.metadata["attempt"] == str(args.attempt)]
    if not found:
        raise UserError(f"{address} knows no such attempt of {args.name!r}.")
    if args.follow:
        return jobs.follow(client, found[-1].submission_id)
    print(jobs.clean(client.get_job_logs(found[-1].submission_id)), end="")
    return 0


def _has(name: str) -> bool:
    """Whether the local cluster's job API knows the sweep."""
    from cluster import jobs

    return bool(jobs.attempts(jobs.connect(jobs.find_address()), name))


def _from_home(args: argparse.Namespace) -> int:
    from cluster import trial_log
    from sweeps import home

    return trial_log.show(home(), args.name, trial=args.trial, follow=args.follow)
