"""Commands that messages name, as their reader has to type them to mean the same sweep."""

from __future__ import annotations

import os
import shlex

# In a job on a cluster: the options with which its sender reaches that cluster.
REACHED_BY = "S4SWEEP_REACHED_BY"
# In a driver whose sweep names code of the user's own: what a further driver needs to find it.
RESUMED_WITH = "S4SWEEP_RESUMED_WITH"
# The home that was typed as an option, and that a command without it would not mean.
TYPED_HOME = "S4SWEEP_TYPED_HOME"


def is_job() -> bool:
    """Whether what is said here is read elsewhere: where its sender follows the job's log."""
    return REACHED_BY in os.environ


def hint(words: str) -> str:
    """`s4sweep WORDS`, with the options that find the code and reach this cluster or this home."""
    names = [RESUMED_WITH, REACHED_BY] if words.startswith("resume ") else [REACHED_BY]
    options = [value for name in names if (value := os.environ.get(name))]
    home = os.environ.get(TYPED_HOME)
    if home and home == os.environ.get("S4SWEEP_HOME") and not is_job():
        options.append(f"--home {shlex.quote(home)}")
    return " ".join(["s4sweep", words, *options])
