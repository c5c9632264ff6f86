"""Commands that messages name, as their reader has to type them to mean the same sweep."""

from __future__ import annotations

import os

# In a job on a cluster: the options with which its sender reaches that cluster.
REACHED_BY = "S4SWEEP_REACHED_BY"


def is_job() -> bool:
    """Whether what is said here is read elsewhere: where its sender follows the job's log."""
    return REACHED_BY in os.environ


def hint(words: str) -> str:
    """`s4sweep WORDS`; in a job, with the options that send it to the job's cluster."""
    return " ".join(["s4sweep", words, *os.environ.get(REACHED_BY, "").split()])
