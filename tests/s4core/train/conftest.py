"""Make `tests.s4core.train.tiny` a name that a sweep, or a child process, could use."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
