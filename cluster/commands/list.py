"""`s4sweep list`: the sweeps of this home, a line each."""

from __future__ import annotations

import argparse

HELP = "list the sweeps of this home"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def main(args: argparse.Namespace) -> int:
    import json

    from cluster.standing import Standing
    from sweeps import home, sweep_names

    standings = [Standing.of(home(), name) for name in sweep_names(home())]
    if args.json:
        print(json.dumps([s.to_json() for s in standings]))
        return 0
    if not standings:
        print(f"no sweeps in {home()}; `s4sweep run examples/quickstart.yaml` makes one.")
        return 0
    from rich.table import Table

    from cluster.live import console

    table = Table(title=f"sweeps in {home()}", title_justify="left")
    for column in ("name", "state", "trials", "failed", "best", "last change"):
        table.add_column(column, justify="right" if column in ("trials", "failed") else "left")
    for s in standings:
        best = "-" if s.best is None else f"{s.metric} {s.best:.4f} (trial {s.best_trial})"
        cells = (s.state, f"{s.done}/{s.target}", str(s.failed), best, s.last_change())
        table.add_row(s.name, *cells)
    console().print(table)
    return 0
