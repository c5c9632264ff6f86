"""`s4sweep dashboard`: start MLflow's web pages, or find those that are up, and say where."""

from __future__ import annotations

import argparse

from cluster.arguments import whole

HELP = """look at sweeps in a browser

Starts MLflow's server on 127.0.0.1 (or finds the one of this home that is up), prints its address,
with NAME that of the sweep's charts, and serves until Ctrl-C. --optuna serves optuna-dashboard on
the sweep's study instead; --ray prints the address of the dashboard of the Ray cluster that
`s4sweep submit` goes to."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the sweep to open")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--optuna", action="store_true", help="optuna-dashboard on the sweep's study")
    kind.add_argument("--ray", action="store_true", help="print the Ray dashboard's address")
    parser.add_argument("--host", help="where to listen (127.0.0.1)")
    parser.add_argument(
        "--port", type=whole(1, 65535), help="port (5000 or, if that is taken, any)"
    )
    parser.add_argument("--allowed-hosts", help="names, by commas, under which it may be reached")
    parser.add_argument("--detach", action="store_true", help="leave the server up and return")
    parser.add_argument("--stop", action="store_true", help="stop the server that is up")


def main(args: argparse.Namespace) -> int:
    import contextlib
    import sys

    from cluster import auth
    from cluster.errors import UserError
    from dashboards import login, server
    from dashboards.record import SweepRecord
    from dashboards.store import default_uri
    from sweeps import home
    from sweeps.hints import hint

    record = SweepRecord.of(home(), args.name) if args.name else None
    if args.ray:
        print(_ray_address())
        return 0
    if args.optuna and record is None:
        raise UserError("--optuna shows one sweep: s4sweep dashboard --optuna NAME.")
    state = home() / server.STATE
    if args.optuna and record is not None:
        state = record.folder / server.OPTUNA_STATE
    running = server.find(state)
    if args.stop:
        if running is not None:
            running.stop()
        print("stopped." if running else "no server was up.")
        return 0
    shared = default_uri(home())
    if shared.startswith("http") and not args.optuna:  # somebody else's server, which is up
        print(_page(shared.rstrip("/"), record))
        return 0
    if running is None and sys.stderr.isatty():
        print("starting the server; it takes some 5 to 15 s ...", file=sys.stderr)
    listens = {"host": args.host, "port": args.port}
    if args.optuna and record is not None:
        started, stop = server.start_optuna(record, **listens), f"{record.name} --optuna --stop"
    else:
        options = {**listens, "uri": shared, "allowed_hosts": args.allowed_hosts}
        started, stop = server.start(home(), **options), "--stop"
    stays = running is not None or args.detach
    with contextlib.nullcontext() if stays else server.held(started):
        print(started.url if args.optuna else _page(started.url, record), flush=True)
        if not args.optuna and not auth.is_loopback(started.url):
            password = home() / login.FOLDER / "admin-password"
            print(f"log in as {login.ADMIN}; the password is in {password}")
        if stays:
            print(f"it is up until `{hint(f'dashboard {stop}')}`.")
        else:
            print("Ctrl-C stops it.", flush=True)
            started.wait()
    return 0


def _page(url: str, record: object) -> str:
    """The address to print: of the sweep's charts, or of the list of experiments."""
    from dashboards.record import SweepRecord
    from dashboards.views import page

    if not isinstance(record, SweepRecord):
        return f"{url}/#/experiments?workflowType=machine_learning"
    return page(url, record)


def _ray_address() -> str:
    """The dashboard of the cluster that `submit` would go to, if it answers."""
    from cluster import jobs, ray_http
    from cluster.errors import UserError

    address = jobs.find_address()
    try:
        ray_http.get(f"{address}/api/version")
    except OSError as error:
        raise UserError(f"no Ray dashboard answers at {address}: {error}.") from error
    return address
