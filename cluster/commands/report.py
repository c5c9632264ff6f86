"""`s4sweep report NAME`: one HTML file with everything about a sweep, finished or not."""

from __future__ import annotations

import argparse

HELP = "write a sweep's report, one HTML file that works offline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="where to (default: the sweep's folder)"
    )
    parser.add_argument("--open", action="store_true", help="open it in a browser")


def main(args: argparse.Namespace) -> int:
    from pathlib import Path

    from dashboards.report import write_report
    from sweeps import home

    path = write_report(home(), args.name, Path(args.output) if args.output else None)
    print(path)
    if args.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0
