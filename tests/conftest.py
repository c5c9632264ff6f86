"""Settings that hold for every test."""

from __future__ import annotations

import os

# Set before any library reads them: no telemetry, one thread a process, and jaxtyping's shapes
# become checks of every function of s4core.ops.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
