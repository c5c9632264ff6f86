"""Makes the tests' own models importable, here and in Ray's workers (they inherit PYTHONPATH)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LAB = str(Path(__file__).parent.parent / "contracts")
ROOT = str(Path(__file__).parent.parent.parent)
for place in (LAB, ROOT):
    if place not in sys.path:
        sys.path.insert(0, place)
os.environ["PYTHONPATH"] = os.pathsep.join([LAB, ROOT, os.environ.get("PYTHONPATH", "")])
