"""What is in a home's cache: list it, check it, and clear away what nobody can use any more."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.cache import Entry, read_entry
from data_prep.errors import Damaged, DataError
from data_prep.registry import dataset_card, dataset_names

STALE_AFTER_S = 24 * 3600.0  # a temporary folder of another host counts as abandoned after this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cached:
    """One folder of the cache.

    state: "good" (its manifest says so; `verify` reads every byte), "old" (made by a recipe that
    has changed since), "damaged" (moved aside, or without a readable manifest) or "torn" (left by a
    builder that died).
    """

    dataset: str
    folder: Path
    state: str
    bytes: int
    entry: Entry | None = None


def cached(home: Path, *, dataset: str | None = None) -> Iterator[Cached]:
    """Yield every folder of the cache, by data set and age."""
    root = home / "data"
    for place in sorted(root.iterdir()) if root.is_dir() else []:
        if place.is_dir() and dataset in (None, place.name):
            folders = [p for p in place.iterdir() if p.is_dir()]
            for folder in sorted(folders, key=lambda p: p.stat().st_mtime):
                yield _look(place.name, folder)


def _look(dataset: str, folder: Path) -> Cached:
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    entry = None
    if ".tmp-" in folder.name:
        state = "torn"
    elif ".bad-" in folder.name:
        state = "damaged"
    else:
        with contextlib.suppress(Damaged):
            entry = read_entry(folder)
        state = "damaged" if entry is None else "good"
        known = "." in dataset or dataset in dataset_names()
        if entry is not None and known and entry.manifest["version"] != _version(dataset):
            state = "old"
    return Cached(dataset=dataset, folder=folder, state=state, bytes=size, entry=entry)


def _version(dataset: str) -> int | None:
    try:
        return dataset_card(dataset).version
    except DataError:
        return None  # a module of the user's own that is not on the path now


def verify(home: Path, *, dataset: str | None = None) -> Iterator[tuple[Cached, str | None]]:
    """Read every byte of every published entry; yield it with what is wrong, or None."""
    for found in cached(home, dataset=dataset):
        if found.entry is None:
            continue
        try:
            found.entry.check_contents()
            for split in found.entry.splits:
                found.entry.part(split)
        except Damaged as error:
            yield found, str(error)
        else:
            yield found, None


def prune(
    home: Path,
    *,
    dataset: str | None = None,
    everything: bool = False,
    keep: Callable[[Cached], bool] = lambda _: False,
    dry: bool = False,
) -> Iterator[Cached]:
    """Delete what is damaged, torn (by nobody who still builds) or old; yield each.

    everything: good entries too (they can be prepared again); keep: those to be left; dry: delete
    nothing.
    """
    for found in cached(home, dataset=dataset):
        if found.state == "good" and not everything:
            continue
        if found.state == "torn" and time.time() - found.folder.stat().st_mtime < STALE_AFTER_S:
            continue
        if keep(found):
            continue
        if not dry:
            shutil.rmtree(found.folder)
            for note in found.folder.parent.glob(f"{found.folder.name}.verified-*"):
                note.unlink()
        yield found


def describe(found: Cached) -> dict[str, object]:
    """Return plain data about a folder of the cache, for `--json`."""
    manifest = found.entry.manifest if found.entry else {}
    return {
        "dataset": found.dataset,
        "folder": str(found.folder),
        "state": found.state,
        "bytes": found.bytes,
        "options": manifest.get("options"),
        "splits": {n: s["rows"] for n, s in manifest.get("splits", {}).items()},
        "created": manifest.get("created"),
    }
