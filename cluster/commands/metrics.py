"""`s4sweep metrics`: the sweeps of this home for Prometheus."""

from __future__ import annotations

import argparse

from cluster.arguments import whole

HELP = """serve this home's sweeps as Prometheus metrics

Answers http://HOST:PORT/metrics until Ctrl-C. dashboards/grafana/ has dashboards for Grafana; Ray's
own metrics come from Ray."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=whole(1, 65535), default=9109, help="port (%(default)s)")


def main(args: argparse.Namespace) -> int:
    from cluster.errors import UserError
    from dashboards.prometheus import serve_metrics
    from sweeps import home

    try:
        server, thread = serve_metrics(home(), host=args.host, port=args.port)
    except OSError as error:
        raise UserError(f"cannot listen on {args.host}:{args.port}: {error.strerror}.") from error
    print(f"http://{args.host}:{args.port}/metrics\nCtrl-C stops it.", flush=True)
    try:
        thread.join()
    except KeyboardInterrupt:
        server.shutdown()
    return 0
