"""`s4sweep run` and `resume` as processes that tests start, watch, signal and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 240.0


class Driver:
    """`s4sweep ... --json` as a process; its events are read line by line."""

    def __init__(self, home: Path, *words: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", *words, "--home", str(home)],
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

    def send(self, number: signal.Signals) -> None:
        """A signal to the whole process group, as a terminal sends Ctrl-C."""
        os.killpg(self._process.pid, number)

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
        self.events += [json.loads(line) for line in whole if line.startswith("{")]


def start(home: Path, *words: str) -> Driver:
    """Run home/tiny.yaml."""
    quiet = ("--json", "--no-tracking", "--no-test", "--allow-imports")
    return Driver(home, "run", str(home / "tiny.yaml"), *quiet, *words)


def resume(home: Path, *words: str) -> Driver:
    """Go on with it."""
    return Driver(home, "resume", "tiny", "--json", "--no-tracking", "--no-test", *words)


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
    return found
