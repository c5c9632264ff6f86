"""`s4sweep status NAME`: how a sweep stands, read from its files alone."""

from __future__ import annotations

import argparse

from sweeps.plural import plural

HELP = "show how a sweep stands"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the sweep (default: the latest)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--tracking-uri", help="the MLflow store whose lag is shown")


def main(args: argparse.Namespace) -> int:
    import json

    from cluster.errors import UserError
    from cluster.standing import Standing
    from dashboards.shipper import lag
    from sweeps import home, sweep_names
    from sweeps.hints import hint

    name = args.name
    if name is None:
        all_of_them = [Standing.of(home(), n) for n in sweep_names(home())]
        if not all_of_them:
            raise UserError(f"no sweeps in {home()}; `s4sweep run FILE` makes one.")
        name = max(all_of_them, key=lambda s: s.changed or 0.0).name
    standing = Standing.of(home(), name)
    behind = lag(home(), name, args.tracking_uri)
    if args.json:
        shown = {"lines": behind.lines, "seconds": behind.seconds, "error": behind.error}
        print(json.dumps({**standing.to_json(), "mlflow_lag": shown}))
        return 0
    from cluster.live import console
    from dashboards.leaderboard import leaderboard

    seen = console()
    seen.print(leaderboard(standing.result, driven=standing.driven, width=seen.width))
    driver = f"driver: pid {standing.pid} on {standing.host}" if standing.driven else "no driver"
    state = standing.state if standing.reason is None else f"{standing.state} ({standing.reason})"
    print(f"{state}: {standing.done} of {plural(standing.target, 'trial')} done; {driver}")
    if behind.lines or behind.error:
        why = f" ({behind.error})" if behind.error else ""
        print(f"MLflow lags by {plural(behind.lines, 'epoch')}, {behind.seconds:.0f} s{why}")
    if standing.state in ("paused", "interrupted"):
        print(f"go on: {hint(f'resume {name}')}")
    return 0
