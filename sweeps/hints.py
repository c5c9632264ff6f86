"""Commands that messages name, as their reader has to type them to mean the same sweep."""

from __future__ import annotations

import os

# In a job on a cluster: the options with which its sender reaches that cluster.
REACHED_BY = "S4SWEEP_REACHED_BY"
# In a driver whose sweep names code of the user's own: what a further driver needs to find it.
RESUMED_WITH = "S4SWEEP_RESUMED_WITH"


def is_job() -> bool:
    """Whether what is said here is read elsewhere: where its sender follows the job's log."""
    return REACHED_BY in os.environ


def hint(words: str) -> str:
    """`s4sweep WORDS`, with the options that reach this cluster (in a job) and find the code."""
    names = [RESUMED_WITH, REACHED_BY] if words.startswith("resume ") else [REACHED_BY]
    return " ".join(["s4sweep", words, *(v for n in names if (v := os.environ.get(n)))])
