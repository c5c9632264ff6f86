"""Where everything of a sweep lives: `$S4SWEEP_HOME`, else `~/s4sweep`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from s4core.config import nearest

from .errors import StudyError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def home() -> Path:
    """Give the home folder; it need not exist yet. For one in an object store it is its mirror.

    Raises StudyError for a URL that cannot be a home.
    """
    set_to = os.environ.get("S4SWEEP_HOME")
    if set_to and "://" in set_to:
        from data_prep.remote import mirror_of  # pyarrow's file systems take 20 ms

        try:
            return mirror_of(set_to).local
        except ValueError as error:
            raise StudyError(str(error)) from error
    return Path(set_to).expanduser().absolute() if set_to else Path.home() / "s4sweep"


def valid_name(name: str) -> bool:
    """Whether `name` can name a sweep (and its folder)."""
    return _NAME.fullmatch(name) is not None


def sweep_folder(name: str, home: Path) -> Path:
    """Give the folder of a sweep; raises StudyError for a name that cannot be one."""
    if not valid_name(name):
        raise StudyError(f"{name!r} cannot name a sweep: letters, digits, '.', '_' and '-' only.")
    return home / "sweeps" / name


def existing_sweep(name: str, home: Path) -> Path:
    """Give the folder of a sweep that there is; StudyError names the nearest if there is none."""
    folder = sweep_folder(name, home)
    if not (folder / "spec.json").exists():
        known = sweep_names(home)
        there = nearest(name, known) if known else f"there is none in {home}."
        raise StudyError(f"no sweep {name!r}: {there}")
    return folder


def sweep_names(home: Path) -> list[str]:
    """List the sweeps under `home`."""
    return sorted(p.parent.name for p in (home / "sweeps").glob("*/spec.json"))
