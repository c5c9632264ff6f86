"""Seeing: sweeps in MLflow, in a report, in a terminal. The only writer to MLflow."""

from dashboards.errors import DashboardError

__all__ = ["DashboardError"]
