"""`s4sweep dashboard`: start MLflow's web pages, or find those that are up, and say where."""

from __future__ import annotations

import argparse

HELP = """open the dashboards in a browser

Starts MLflow's server on 127.0.0.1 (or finds the one of this home that is up) and serves until
Ctrl-C. --optuna starts optuna-dashboard on the sweep's study instead; --ray prints the address of
the Ray dashboard."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the sweep to open")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--optuna", action="store_true", help="optuna-dashboard on the sweep's study")
    kind.add_argument("--ray", action="store_true", help="print the Ray dashboard's address")
    kind.add_argument("--stop", action="store_true", help="stop the server that is up")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help="port (default: 5000 or, if taken, any)")
    parser.add_argument("--detach", action="store_true", help="leave the server running and return")


def main(args: argparse.Namespace) -> int:
    from dashboards import server
    from sweeps import home

    running = server.find(home())
    if args.stop:
        if running is not None:
            running.stop()
        print("stopped." if running else "no server was up.")
        return 0
    if running is None:
        print("starting MLflow ...", flush=True)
    started = running or server.start(home(), host=args.host, port=args.port)
    print(started.url, flush=True)
    if running is not None or args.detach:
        print("up; `s4sweep dashboard --stop` ends it.")
        return 0
    print("Ctrl-C stops it.", flush=True)
    return server.hold(started)
