"""Questions to a Ray dashboard over HTTP, asked with the token; no Ray is imported for them."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from cluster import auth


def get(url: str, *, timeout_s: float = 5.0, token: bool = True) -> Any:
    """The JSON that a dashboard URL answers, asked with the token; raises OSError."""
    request = urllib.request.Request(url)
    value = auth.read_token() if token else None
    if value:
        request.add_header("Authorization", f"Bearer {value}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except http.client.HTTPException as error:
        raise ConnectionError(f"who listens at {url} speaks no HTTP") from error


def alive_nodes(dashboard: str) -> list[dict[str, Any]]:
    """Ray's own list of the nodes that are alive, from the dashboard.

    From its cache Ray would answer how things stood when somebody asked last, however long ago.
    """
    summary = get(f"{dashboard}/nodes?view=summary&nocache=1")["data"]["summary"]
    return [node for node in summary if node["raylet"].get("state") == "ALIVE"]


def describe(node: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth knowing of one of `alive_nodes`, as plain data."""
    total = node["raylet"].get("resourcesTotal", {})
    load = (node.get("loadAvg") or [[0.0]])[0]
    return {
        "host": f"{node.get('hostname', '?')} ({node.get('ip', '?')})",
        "head": bool(node["raylet"].get("isHeadNode")),
        "cpus": total.get("CPU", 0.0),
        "gpus": total.get("GPU", 0.0),
        "memory_gb": total.get("memory", 0.0) / 2**30,
        "load": load[0] if load else 0.0,
    }
