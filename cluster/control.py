"""Asking a running driver to stop, from wherever its home is seen: a file in the sweep's folder.

A signal would need the driver's machine and its pid, and a pid may by now be another process's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from sweeps.background import meanwhile
from sweeps.files import write_json
from sweeps.hints import hint
from sweeps.lease import driver_of

FILE = "stop.json"
How = Literal["drain", "now"]
logger = logging.getLogger(__name__)


def request_stop(folder: Path, how: How) -> None:
    """Ask the driver of the sweep in `folder` to stop: after the epochs in hand, or at once."""
    write_json(folder / FILE, {"how": how, "time": time.time()})


def idle_hint(folder: Path) -> str:
    """A line for who steers a sweep that nobody runs, or nothing."""
    if driver_of(folder) is not None:
        return ""
    return f"nobody runs it now: {hint(f'resume {folder.name}')}\n"


@contextlib.contextmanager
def obeying(folder: Path, obey: Callable[[How], None], *, every_s: float = 1.0) -> Iterator[None]:
    """Look for requests while the block runs, in a thread; those from before it are forgotten."""
    path = folder / FILE
    path.unlink(missing_ok=True)

    def look() -> None:
        try:
            how: How = json.loads(path.read_text())["how"]
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:  # the storage is away; training waits for it as well
            logger.warning("cannot look for requests to stop: %s", error)
            return
        obey(how)

    with meanwhile(look, every_s=every_s, name="s4sweep-control"):
        yield
