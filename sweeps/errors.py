"""What can go wrong in a sweep.

SweepError             a user's mistake or a state that only the user can change; str() is one line
|-- SpecError          the YAML: `file:line: dotted.path: what was wrong; nearest choice`
|-- StudyError         a sweep that is missing, exists already, or cannot do what was asked
`-- SweepLocked        another driver is running the sweep
Exhausted              the space holds nothing that has not been tried
LeaseLost              another attempt has taken this trial: stop without writing anything
"""

from __future__ import annotations

import dataclasses


class SweepError(ValueError):
    """A user's mistake; `str()` is one line that says what to do."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """A place in a YAML file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SpecError(SweepError):
    """A YAML that cannot be: where (`mark`), which value (`path`) and what is wrong (`message`)."""

    def __init__(self, mark: Mark | None, path: str, message: str) -> None:
        parts = [str(mark) if mark else "", path, " ".join(message.split())]
        super().__init__(": ".join(part for part in parts if part))
        self.mark = mark
        self.path = path
        self.message = message


class StudyError(SweepError):
    """A sweep that is missing, exists already, or cannot do what was asked."""


class SweepLocked(SweepError):
    """Another driver is running the sweep."""


class LeaseLost(RuntimeError):
    """Another attempt has taken this trial; what this one would write is no longer wanted."""


class Exhausted(RuntimeError):
    """The space holds nothing that has not been tried."""
