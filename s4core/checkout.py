"""Which code this is: the commit of the checkout that the packages lie in, and what was changed.

A copy that was sent to a cluster is in no checkout; its sender says both by two variables.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

COMMIT, PATCH = "S4SWEEP_COMMIT", "S4SWEEP_PATCH"


@functools.cache
def git_commit() -> str | None:
    """Name the commit of the checkout that this package lies in (`-dirty` if it was changed)."""
    if not _is_tracked():
        return os.environ.get(COMMIT)
    commit = _git("rev-parse", "HEAD").strip()
    return f"{commit}-dirty" if _git("status", "--porcelain", "-uno") else commit


def git_diff() -> str:
    """What the checkout differs in from its commit, as a patch; "" where nobody can say.

    The sender of a copy leaves it in a file that it names.
    """
    if _is_tracked():
        return _git("diff", "HEAD")
    sent = os.environ.get(PATCH)
    return Path(sent).read_text(encoding="utf-8") if sent else ""


def _is_tracked() -> bool:
    """Whether this file is in a checkout; one that was installed may lie in some other project."""
    return bool(_git("ls-files", Path(__file__).name))


def _git(*words: str) -> str:
    """What git prints; "" where it cannot, or is not there."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
