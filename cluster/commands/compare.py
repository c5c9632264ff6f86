"""`s4sweep compare SWEEP SWEEP`: what each reached, and with what."""

from __future__ import annotations

import argparse

HELP = "compare two or more sweeps: their best trials, spread, cost, and what differs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("names", metavar="NAME", nargs="+", help="sweeps")
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def main(args: argparse.Namespace) -> int:
    import json

    from cluster.errors import UserError
    from sweeps import Study, home
    from sweeps.results import compare, differences

    if len(args.names) < 2:
        raise UserError("compare wants two or more sweeps.")
    studies = [Study.open(name, home()) for name in args.names]
    rows = compare(studies)
    if args.json:
        print(json.dumps(rows))
        return 0
    from rich.table import Table

    from cluster.live import console
    from dashboards.leaderboard import duration, number, value

    table = Table(title="sweeps", title_justify="left")
    columns = [k for k in rows[0] if k != "others" or any(row["others"] for row in rows)]
    for column in columns:
        table.add_column("time" if column == "hours" else column)
    for row in rows:
        figures = {k: number(row[k]) for k in ("best", "median", "test")}
        figures["hours"] = duration(3600 * row["hours"])
        said = [f"{metric} {number(reached)}" for metric, reached in row["others"].items()]
        figures["others"] = "\n".join(said) or "-"
        table.add_row(
            *("-" if v is None else str(v) for v in ((row | figures)[k] for k in columns))
        )
    console().print(table)
    table = Table(title="where the best trials differ", title_justify="left")
    table.add_column("value")
    for study in studies:
        table.add_column(study.spec.name)
    for path, values in differences(studies).items():
        table.add_row(path, *("" if v is None else value(v) for v in values))
    if table.row_count:
        console().print(table)
    return 0
