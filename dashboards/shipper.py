"""The one writer to MLflow: follows the files of a sweep and sends what is new.

A process of its own (`python -m dashboards.shipper --home H --sweep NAME --follow`), so that
neither training nor the driver ever waits for MLflow. It may be killed at any time and started
again, and the store may be away for any length of time: what is on disk is sent later, and what is
sent twice is stored once. A store that fails is asked again after 1, 2, 4 ... 60 s.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dashboards import experiment, ship_state, summary
from dashboards.errors import ShipperBusy, StoreAway
from dashboards.record import SweepRecord
from dashboards.sender import Sender
from dashboards.ship_state import Lag, Shipped, lag
from dashboards.store import default_uri, is_gone, is_outage, open_client, public

__all__ = ["Lag", "Shipper", "ShipperBusy", "lag", "start_shipper", "sync"]

_logger = logging.getLogger(__name__)

POLL_S = 1.0
BACKOFF_S = 60.0
SAVE_S = 5.0
# How long `sync` waits for a shipper: that of a sweep which is over sends the rest and ends.
BUSY_S, ENDING_S = 2.0, 60.0


class Shipper:
    """Sends one sweep to one store, over and over. Not safe twice at a time: hold `lock`."""

    def __init__(self, home: Path, sweep: str, uri: str | None = None) -> None:
        self.record = SweepRecord.of(home, sweep)
        self.uri = uri or default_uri(home)
        self.lock = FileLock(self.record.folder / "ship.lock")
        self._sender: Sender | None = None
        self._saved = 0.0

    def ship(self) -> str:
        """Send everything that the store lacks; returns the experiment's id.

        Raises what the store raises; nothing is lost by that.
        """
        sender = self._sender or self._open()
        over = not self.record.is_driven()
        try:
            for trial in self.record.trials():
                sender.trial(trial, over=over)
                self._save(sender.shipped, every_s=SAVE_S)
            summary.send(sender, over=over)
        except Exception as error:
            self._sender = None  # the next pass looks anew at what is there
            if is_gone(error):  # somebody removed a run for good: find out which are left
                sender.shipped = Shipped(ship_id=sender.shipped.ship_id)
            raise
        finally:
            self._save(sender.shipped)
        return sender.experiment_id

    def follow(self) -> None:
        """Ship until the sweep is over and everything is shipped, however often the store fails."""
        wait_s = POLL_S
        while self.record.folder.is_dir():
            over = not self.record.is_driven()
            try:
                self.ship()
            except Exception as error:  # whatever it is, the record is safe and it may pass
                self._note(error)
                time.sleep(wait_s)
                wait_s = min(BACKOFF_S, 2 * wait_s)
                continue
            wait_s = POLL_S
            self._note(None)
            if over:
                return
            time.sleep(POLL_S)

    def _open(self) -> Sender:
        client = open_client(self.record.home, self.uri)
        sender = Sender(self.record, self.uri, client, ship_state.load(self.record, self.uri))
        experiment.find_or_create(sender)
        self._sender = sender
        return sender

    def _save(self, shipped: Shipped, every_s: float = 0.0) -> None:
        now = time.monotonic()
        if self.record.folder.is_dir() and now - self._saved >= every_s:
            ship_state.save(self.record, self.uri, shipped)
            self._saved = now

    def _note(self, error: Exception | None) -> None:
        """Write down for `lag` whether the last pass was good."""
        sender = self._sender
        shipped = ship_state.load(self.record, self.uri) if sender is None else sender.shipped
        if error is None:
            shipped.error = shipped.error_since = None
        else:
            shipped.error = public(f"{type(error).__name__}: {error}".splitlines()[0])[:500]
            shipped.error_since = shipped.error_since or time.time()
            _logger.warning("%s does not take it: %s", public(self.uri), shipped.error)
        self._save(shipped)


def start_shipper(home: Path, name: str, tracking_uri: str | None = None) -> subprocess.Popen[Any]:
    """Start the process that follows the sweep; its words go to `shipper.log` in the folder.

    It has its own process group, so a Ctrl-C in the terminal does not reach it, but the session of
    the driver and of the workers that this has started: Linux shares the cores among sessions
    first, and niceness counts within one only. It ends by itself when the sweep is over and
    shipped.
    """
    record = SweepRecord.of(home, name)
    command = [sys.executable, "-m", "dashboards.shipper", "--home", str(home), "--sweep", name]
    # Through the environment, since a URI may carry a password and arguments are for all to see.
    env = os.environ | ({"S4SWEEP_SHIP_TO": tracking_uri} if tracking_uri else {})
    with (record.folder / "shipper.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--follow"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def sync(home: Path, name: str, uri: str | None = None) -> str:
    """Bring the store up to date with the home, once; returns the id of the sweep's experiment.

    Raises ShipperBusy if a shipper is at work on the sweep and does not come to its end within a
    minute, StoreAway if MLflow does not answer.
    """
    shipper = Shipper(home, name, uri)
    wait_s = BUSY_S if shipper.record.is_driven() else ENDING_S
    try:
        with shipper.lock.acquire(timeout=wait_s):
            try:
                return shipper.ship()
            except Exception as error:
                if not is_gone(error):
                    raise
            return shipper.ship()  # which makes anew what is gone
    except Timeout as error:
        raise ShipperBusy(f"a shipper is at work on sweep {name!r}; it needs no help.") from error
    except Exception as error:
        if not is_outage(error):
            raise
        words = f"{shipper.uri} does not take it: {error}".splitlines()[0]
        raise StoreAway(public(words)) from error


def main(argv: list[str] | None = None) -> int:
    """The process: one pass, or with --follow until the sweep is over."""
    parser = argparse.ArgumentParser(prog="dashboards.shipper", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--tracking-uri", default=os.environ.get("S4SWEEP_SHIP_TO"))
    parser.add_argument("--follow", action="store_true")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(19)  # training comes first, and Ray gives its workers 15
    if not args.follow:
        sync(args.home, args.sweep, args.tracking_uri)
        return 0
    shipper = Shipper(args.home, args.sweep, args.tracking_uri)
    with shipper.lock:  # one that is about to end may hold it; then this one takes over
        shipper.follow()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
