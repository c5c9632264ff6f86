"""Several hosts on this machine: a network, a name and processes of its own each (namespaces).

Unlike raylets side by side they can lose their head and get another one at the same address, and
a driver is attached to the raylet of its own host: Ray looks for it among the processes, and takes
the head's where it sees several. Needs root, `ip`, `unshare` and `nsenter`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from cluster import auth

PORT = 6379
NETWORK = "10.213.77"
# The first process of a host: takes its name, and is the parent of whoever has lost his own.
_INIT = 'hostname "$0"; exec env --ignore-signal=CHLD sleep infinity'
_NAMESPACES = ("--uts", "--pid", "--mount")


@dataclasses.dataclass
class Host:
    """One host; `enter` are the words before a command that is to run on it."""

    name: str
    address: str
    scratch: Path
    boots: int = 0
    _power: subprocess.Popen[bytes] | None = None

    @property
    def enter(self) -> Sequence[str]:
        """Enter its namespaces; what is started so ends with whoever has started it."""
        if self._power is None:
            words = (*_NAMESPACES, "--fork", "--mount-proc", "--kill-child", "sh", "-c", _INIT)
            self._power = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", *words, self.name],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        first: list[psutil.Process] = []
        while not first or first[0].name() != "sleep":
            time.sleep(0.02)
            first = psutil.Process(self._power.pid).children()
        target = f"--target={first[0].pid}"
        return ("nsenter", target, "--net", *_NAMESPACES, "setpriv", "--pdeathsig=KILL")

    def boot(self, *words: str) -> None:
        """Start a Ray node on it, in a scratch folder that nobody has used; returns when it runs.

        Not with --block: nothing looks after its processes, so that they can be killed one by one.
        """
        self.boots += 1
        place = self.scratch / f"{self.name}-{self.boots}"
        place.mkdir()
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"),
            *("--object-store-memory=100000000", f"--temp-dir={place}"),
            *(f"--node-ip-address={self.address}", *words),
        ]
        with (place / "log").open("wb") as log:
            subprocess.run(
                [*self.enter, *command],
                check=True,
                env={
                    **os.environ,
                    **auth.child_environment(),
                    "RAY_memory_monitor_refresh_ms": "0",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=120,
            )

    def pids(self) -> list[int]:
        """Everything that runs on it."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def cut(self) -> None:
        """SIGKILL everything on it at once, as when its power goes; returns when it is gone."""
        if self._power is not None:
            self._power.kill()
            self._power.wait()
            self._power = None
        while self.pids():
            time.sleep(0.02)


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[list[Host]]:
    """Hosts that see each other and nothing else; everything on them ends with the block."""
    bridge = f"{names[0][:9]}-net"
    scratch = Path(tempfile.mkdtemp(prefix="s4h-"))  # short: sockets lie below it
    there = [Host(name, f"{NETWORK}.{i}", scratch) for i, name in enumerate(names, start=2)]
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for host in there:
            inside, outside = f"{host.name}-in", f"{host.name}-out"
            _ip("netns", "add", host.name)
            _ip("link", "del", outside, check=False)  # the kernel takes its time with the last one
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            _ip("link", "set", outside, "master", bridge, "up")
            _ip("link", "set", inside, "netns", host.name)
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", inside)
            _ip("-n", host.name, "link", "set", inside, "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "route", "add", "default", "dev", inside)
        yield there
    finally:
        for host in there:
            host.cut()
            _ip("netns", "del", host.name, check=False)
        _ip("link", "del", bridge, check=False)
        shutil.rmtree(scratch, ignore_errors=True)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)
