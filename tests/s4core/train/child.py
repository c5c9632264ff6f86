"""What the children of the kill test do. Imported by the server that they are forked from: it
trains once, since the first optimiser of a process imports another 800 modules (2 s)."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.s4core.train.test_fit import run, told


def tell_into(path: Path, folder: Path) -> None:
    """Train, and write each report to `path` once it has it."""
    with path.open("w") as file:
        # The pause makes an epoch long enough to be hit, where it hurts: before the renames.
        for report in run(folder, guard=lambda: time.sleep(0.02)):
            file.write(json.dumps(told(iter([report]))[0]) + "\n")
            file.flush()


with tempfile.TemporaryDirectory() as folder:
    next(run(Path(folder)))
