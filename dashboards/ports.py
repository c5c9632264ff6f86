"""Ports of this machine: the one that was asked for, or one that nobody listens on."""

from __future__ import annotations

import socket

from dashboards.errors import ServerError


def choose_port(host: str, wanted: int | None, usual: int) -> int:
    """The port that is wanted, else the usual one, else any free one; raises ServerError."""
    if wanted is not None:
        if not is_free(host, wanted):
            raise ServerError(f"port {wanted} of {host} is taken; give another with --port.")
        return wanted
    return usual if is_free(host, usual) else any_port(host)


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens on the port."""
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def any_port(host: str) -> int:
    """A port that nobody listens on now."""
    return _bind(host, 0)


def _bind(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
