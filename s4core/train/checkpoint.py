"""Checkpoints: whole or absent, checked when read, and they name what made them.

A file is written under another name, flushed to the disk, then moved into place. `last.pt` moves
its predecessor to `previous.pt` first: a file torn by a failing disk costs one epoch (said in the
log), not the trial. torch.load does not look at the checksums inside the file (192 of 200 flipped
bits went through unseen); the zip reader does, so files are checked with it first.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from s4core.checkout import git_commit
from s4core.train.errors import CheckpointError

logger = logging.getLogger(__name__)

FORMAT = 1
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"

State = dict[str, Any]

# What the two readers raise over bytes that are not what they should be.
_DAMAGE = (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, RuntimeError, ValueError)


def versions() -> dict[str, str | None]:
    """What code is running: torch's version, and the git commit of this package if it has one."""
    return {"torch": str(torch.__version__), "git_commit": git_commit()}


def write(path: Path, state: State, *, guard: Callable[[], None] | None = None) -> None:
    """Write `state` (tensors and plain data) to `path`, whole or not at all.

    guard: called last before the file is moved into place; what it raises stops the move.
    Raises OSError that names the path when the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "versions": versions(), **state}, buffer)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        _write_through(temporary, path, buffer)
        if guard is not None:
            guard()
        if path.name == LAST and path.exists():
            os.replace(path, path.with_name(PREVIOUS))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write_through(temporary: Path, path: Path, buffer: io.BytesIO) -> None:
    """Write to the disk itself; what a full disk raises names no file, so `path` is named here."""
    try:
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_torn(folder: Path) -> None:
    """Delete what killed processes left half written; only the owner of the folder may."""
    for name in (LAST, BEST):
        for torn in folder.glob(f"{name}.*.tmp"):
            torn.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the renames themselves survive a power cut (where folders can be synced)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path, *, device: torch.device | str = "cpu") -> State:
    """Read and check a checkpoint.

    Raises CheckpointError if it is not there, damaged, or written in another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(path, f"is damaged (in {damaged}); delete it to start afresh.")
        state: State = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(path, "is not there.") from error
    except CheckpointError:
        raise
    except _DAMAGE as error:
        raise CheckpointError(path, f"is damaged ({error}); delete it to start afresh.") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(
            path, f"has format {state.get('format')!r}; this version reads {FORMAT}."
        )
    return state


def read_last(folder: Path) -> State | None:
    """The newest state in `folder` that is whole; None if training never got that far.

    Falls back to previous.pt, and says so in the log; raises CheckpointError if both are damaged.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.exists() and not previous.exists():
        return None
    try:
        return read(last)
    except CheckpointError as error:
        if not previous.exists():
            raise
        state = read(previous)
        logger.warning("%s Going on from previous.pt, epoch %s.", error, state.get("epoch"))
        return state
