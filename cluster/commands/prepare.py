"""`s4sweep prepare FILE...`: make ready, on this machine, the data that a sweep needs."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "download and prepare the data that a sweep needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.download import add_network_arguments

    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="YAML files of sweeps")
    parser.add_argument(
        "--allow-imports", action="store_true", help="names may be your own modules (runs them)"
    )
    add_network_arguments(parser)


def main(args: argparse.Namespace) -> int:
    from cluster.download import prepare_block
    from sweeps import load_spec
    from sweeps.files import options_of

    for file in args.files:
        spec = load_spec(file, allow_imports=args.allow_imports)
        for block in spec.data_blocks():
            prepare_block(block["name"], options_of(block), args)
    return 0
