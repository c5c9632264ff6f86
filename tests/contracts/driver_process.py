"""`s4sweep run` and `resume` as processes that tests start, watch, signal and kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from dashboards.shipper import lag

if TYPE_CHECKING:
    from hosts import Host

PATIENCE_S = 240.0
QUIET = ("--json", "--no-tracking", "--no-test")


class Driver:
    """`s4sweep ... --json` as a process; its events are read line by line."""

    def __init__(self, home: Path, *words: str, host: Host | None = None) -> None:
        self.home = home
        self.events: list[dict[str, Any]] = []
        self.error = ""
        self.said: list[str] = []  # since the last event that was waited for
        self._process = subprocess.Popen(
            [
                *(host.enter if host else ()),
                *(sys.executable, "-m", "cluster.cli", *words, "--home", str(home)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *about: object) -> None:
        self._process.kill()
        self._process.communicate()

    def until(self, reached: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Read events until `reached` says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
                if reached(self.events):
                    return
        raise AssertionError(f"the driver ended first: {self._process.communicate()[1]}")

    def numbers(self, event: str) -> list[int]:
        """The trials that an event was said of, in order."""
        return [e["number"] for e in self.events if e["event"] == event]

    def notes(self) -> list[str]:
        """What was said of the sweep as a whole."""
        return [e["text"] for e in self.events if e["event"] == "note"]

    def losses(self) -> int:
        """How often a trial has lost its worker."""
        return sum("lost its worker" in note for note in self.notes())

    def tell_recovery(self, since: float) -> None:
        """Print (`pytest -rP` shows it) how long after `since` a trial went on that had been lost.

        since: unix seconds. Without a loss in this driver's words it is the first epoch of any.
        """
        epochs = [(e["number"], e["time"]) for e in self.events if e["event"] == "epoch"]
        losses = {
            int(e["text"].split()[1]): e["time"]
            for e in self.events
            if e["event"] == "note" and "lost its worker" in e["text"] and e["time"] > since
        }
        if losses:
            again = [at for n, at in epochs if n in losses and at > losses[n]]
        else:
            again = [at for _, at in epochs if at > since]
        print(f"recovery: {min(again) - since:.1f} s")

    def continued(self, *words: str, host: Host | None = None) -> Driver:
        """Start the command that this driver's words say goes on with the sweep."""
        said = re.findall(r"s4sweep (resume [\w-]+)", "\n".join([*self.notes(), self.error]))
        assert said, f"no command to go on with: {self.notes()}, {self.error}"
        return Driver(self.home, *said[-1].split(), *QUIET, *words, host=host)

    def send(self, number: signal.Signals) -> None:
        """A signal to the whole process group, as a terminal sends Ctrl-C."""
        os.killpg(self._process.pid, number)

    def pause(self) -> None:
        """SIGSTOP of the driver alone; its workers end the epoch in hand."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL of the driver alone; what it had said before is read."""
        self._process.kill()
        self._read_rest()

    def wait(self) -> int:
        """Read what is left; the exit status."""
        self._read_rest()
        return self._process.returncode

    def _read_rest(self) -> None:
        out, self.error = self._process.communicate(timeout=PATIENCE_S)
        whole = [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
        self.said = [line.rstrip() for line in whole]
        self.events += [json.loads(line) for line in whole if line.startswith("{")]


def start(
    home: Path, *words: str, host: Host | None = None, options: Sequence[str] = QUIET
) -> Driver:
    """Run home/tiny.yaml."""
    path = str(home / "tiny.yaml")
    return Driver(home, "run", path, *options, "--allow-imports", *words, host=host)


def resume(home: Path, *words: str) -> Driver:
    """Go on with it."""
    return Driver(home, "resume", "tiny", *QUIET, *words)


def epochs_on_disk(home: Path) -> dict[int, int]:
    """Epochs that each trial's metrics.jsonl holds."""
    files = (home / "sweeps/tiny/trials").glob("*/metrics.jsonl")
    return {int(f.parent.name): f.read_bytes().count(b"\n") for f in files}


def mid_sweep(events: list[dict[str, Any]]) -> bool:
    """A trial has ended, and another one has an epoch."""
    ended = {e["number"] for e in events if e["event"] == "ended"}
    return bool(ended) and any(e["event"] == "epoch" and e["number"] not in ended for e in events)


def training_pids(home: Path) -> list[int]:
    """The processes that train the trials that have not ended, by their last attempt."""
    found = []
    for folder in sorted((home / "sweeps/tiny/trials").glob("*")):
        attempts = folder / "attempts.jsonl"
        if attempts.exists() and not (folder / "result.json").exists():
            found.append(int(json.loads(attempts.read_text().splitlines()[-1])["pid"]))
    return [pid for pid in found if _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    """Whether it still is a Ray worker: a dead one's pid may be another process's by now."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False
    return bool(words) and words[0].startswith("ray::")


def wait_for_shipper(home: Path, uri: str | None = None) -> None:
    """Return when MLflow has everything: the shipper outlives the driver if it has to."""
    deadline = time.monotonic() + PATIENCE_S
    lock = FileLock(home / "sweeps/tiny/ship.lock")
    while True:
        with contextlib.suppress(Timeout), lock.acquire(timeout=0.2):
            if lag(home, "tiny", uri).lines == 0:
                return
        assert time.monotonic() < deadline, lag(home, "tiny", uri)
        time.sleep(0.2)
