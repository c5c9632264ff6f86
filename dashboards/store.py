"""The MLflow store: where it is, how it is opened, and which of its errors mean "try later".

A fresh SQLite file is brought to MLflow's schema by one process under a lock: eight processes that
open one at the same time all fail. Retries are ours, not MLflow's, whose defaults block a caller
for minutes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TIMEOUT_S = 30
# Read by mlflow on each request; they reach no other process than those that write to MLflow.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT_S),
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def default_uri(home: Path) -> str:
    """The tracking URI: `$MLFLOW_TRACKING_URI`, else the store that lies in the home itself."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri(home)


def own_uri(home: Path) -> str:
    """The tracking URI of the store in the home."""
    return f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


def public(text: str) -> str:
    """A URI, or what was said of one, without the user names and passwords in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def open_client(home: Path, uri: str | None = None) -> MlflowClient:
    """A client of the store, which is created first if it is a SQLite file that is not there."""
    uri = uri or default_uri(home)
    os.environ.update(SETTINGS)
    from mlflow.tracking import MlflowClient

    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{database}.lock"):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.get_experiment("0")  # opens the file, so that a fresh one is migrated here
        return client
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def artifact_root(home: Path, uri: str) -> str | None:
    """Where a new experiment keeps its artifacts: in the home, unless a server decides."""
    return str(Path(home).resolve() / "artifacts") if uri.startswith("sqlite:///") else None


def is_refusal(error: Exception) -> bool:
    """Whether the store understood and refused, so that sending the same again is no use.

    Everything else (no route, 5xx, a locked database, a full disk, missing credentials) may pass.
    """
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in (
        "INVALID_PARAMETER_VALUE",
        "BAD_REQUEST",
        "RESOURCE_ALREADY_EXISTS",
        "INVALID_STATE",
    )


def is_outage(error: Exception) -> bool:
    """Whether the store could not be reached or could not do it now."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return not is_refusal(error) and not is_gone(error)
    return isinstance(error, OSError)


def is_gone(error: Exception) -> bool:
    """Whether the store says that a run or an experiment we know is not there (any more)."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"
