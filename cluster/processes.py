"""The processes of one Ray node: known by pid and start time, found again, ended.

A pid alone names no process: it may have been given to another by now.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

_STOP_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One node: the `ray start` process and what it started, each as (pid, start time)."""

    name: str
    processes: tuple[tuple[int, float], ...]

    def alive(self) -> Iterator[psutil.Process]:
        """The processes that are still the ones that were started, and their children now."""
        seen: set[int] = set()
        for pid, created in self.processes:
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - created) > 1.0:
                    continue
                family = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for member in family:
                if member.pid not in seen and _is_running(member):
                    seen.add(member.pid)
                    yield member

    def find(self, part: str) -> psutil.Process:
        """The first live process whose program is `part`: "raylet", "gcs_server", "ray::NAME"."""
        for process in self.alive():
            words = process.cmdline()
            if words and (Path(words[0]).name == part or words[0].startswith(part)):
                return process
        raise LookupError(f"no {part} on {self.name}")


def record(name: str, pid: int) -> Node:
    try:
        main = psutil.Process(pid)
        family = [main, *main.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    found = []
    for process in family:
        try:
            # Workers come and go; they are found as children of their raylet when it matters.
            if not process.name().startswith("ray::"):
                found.append((process.pid, process.create_time()))
        except psutil.NoSuchProcess:
            continue
    return Node(name=name, processes=tuple(found))


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def end(nodes: Sequence[Node]) -> int:
    """Have each `ray start` end its node, and kill what is left; returns how many there were."""
    processes = [process for node in nodes for process in node.alive()]
    for node in nodes:
        for main in list(node.alive())[:1]:
            _signal(main, signal.SIGCONT)
            _signal(main, signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=_STOP_TIMEOUT_S)
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=_STOP_TIMEOUT_S)
    return len(processes)
