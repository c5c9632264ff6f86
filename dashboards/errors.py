"""The exceptions of this package.

DashboardError (ValueError)
  ServerError   the MLflow server did not come up
  ShipperBusy   another process ships the sweep
  StoreAway     MLflow does not answer, or takes nothing
"""


class DashboardError(ValueError):
    """A mistake of the user, or something only the user can mend; the message says what to do."""


class ServerError(DashboardError):
    """The MLflow server did not come up."""


class ShipperBusy(DashboardError):
    """Another process ships this sweep; it needs no help."""


class StoreAway(DashboardError):
    """MLflow does not answer, or takes nothing; nothing is lost, and trying again is safe."""
