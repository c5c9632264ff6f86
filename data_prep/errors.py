"""The exceptions of this package.

DataError(ValueError)   what the user asked for cannot be; one line that says what to do
  MissingRaw            the raw files of a data set are not there
  Damaged               a file of the cache is not what was published
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


class DataError(ValueError):
    """A user's mistake, in one line that says what to do; `key` is the option that is to blame."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class MissingRaw(DataError):
    """The raw files are not there: the message says what to download, how large, and where to."""


class Damaged(DataError):
    """A published file has another size, schema or checksum than its manifest says."""


SHOWN = 40  # of the choices; a table may have a column a step


def nearest(name: str, choices: Collection[str]) -> str:
    """Say which of `choices` there are and, where one is close to `name`, that it may be meant."""
    if not choices:
        return "there are none."
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = f" and {len(choices) - SHOWN:,} more" if len(choices) > SHOWN else ""
    return f"choose from {', '.join(sorted(choices)[:SHOWN])}{more}.{hint}"
