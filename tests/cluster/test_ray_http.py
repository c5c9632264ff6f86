"""Questions to a Ray dashboard that is none."""

from __future__ import annotations

import socket
import threading

import pytest

from cluster import ray_http


def test_a_port_of_something_else_is_no_dashboard() -> None:
    """gRPC's first bytes, in place of an answer: a port may be another program's by now."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(bytes([0, 0, 18, 4, 0, 0, 0, 0, 0, 10]))
                connection.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="speaks no HTTP"):
            ray_http.get(f"{url}/api/version", token=False)
        thread.join()
