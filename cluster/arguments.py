"""Arguments of several commands; numbers are refused where they are read if they cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_imports_argument(parser: argparse.ArgumentParser) -> None:
    """The option that lets a sweep's names be the user's own modules (cli.py obeys it)."""
    parser.add_argument(
        "--allow-imports",
        action="store_true",
        help="let names like my_lab.foo import code, from this folder too",
    )


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A `type` of argparse: a whole number from `low` on, up to `high` if there is one."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            wanted = f">= {low}" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"wants a whole number {wanted}, got {text!r}")
        return number

    return read
