"""Preparing data with a bar to watch, shared by `s4sweep data prepare` and `s4sweep prepare`."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.arguments import whole


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what preparing needs to know beside the data set: workers, and the way to servers."""
    parser.add_argument(
        "--workers", type=whole(1), default=1, help="processes that generate shards (default: 1)"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="generate shards as tasks of this Ray cluster instead"
    )
    parser.add_argument("--raw", metavar="FOLDER", help="where the raw files are")
    parser.add_argument(
        "--mirror", metavar="URL", action="append", default=[], help="a folder with the same files"
    )
    parser.add_argument("--proxy", metavar="URL", help="an HTTP proxy (default: the environment's)")
    parser.add_argument(
        "--token-from",
        metavar="VARIABLE",
        default="HF_TOKEN",
        help="the environment variable with a token for the server (default: HF_TOKEN)",
    )
    parser.add_argument("--offline", action="store_true", help="download nothing")


def prepare_block(name: str, options: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Prepare one data set and say where it is.

    Raises data_prep.DataError for a wrong option, missing raw files, a server's failure.
    """
    from cluster.bars import bars
    from data_prep import Network, prepare
    from data_prep.card import amount
    from sweeps.home import home

    network = None
    if not args.offline:
        token = os.environ.get(args.token_from)
        network = Network(mirrors=tuple(args.mirror), proxy=args.proxy, token=token)
    given = dict(options)
    if args.raw:
        given["raw"] = args.raw
    with bars() as progress, _map(args) as spread:
        entry = prepare(name, given, home=home(), network=network, map=spread, progress=progress)
    rows = ", ".join(f"{split} {s.rows:,}" for split, s in entry.splits.items())
    print(f"{name}: {rows} rows, {amount(entry.bytes)} in {entry.folder}")


@contextlib.contextmanager
def _map(args: argparse.Namespace) -> Iterator[Any]:
    if not args.ray:
        from data_prep.parallel import processes

        with processes(max(1, args.workers)) as spread:
            yield spread
        return
    from cluster.runtime import ray_running
    from cluster.shards import ray_map

    with ray_running(args.ray):
        yield ray_map
