"""From raw files, or from a seed, to a published cache entry: once, whoever asks, however many.

Generated data sets are made of independent shards, which `prepare(..., map=...)` may spread over
any executor (a process pool's `map`, or Ray tasks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.bring import bring, is_present
from data_prep.build import Build, Map
from data_prep.cache import Entry, Request
from data_prep.fetch import Network, Progress
from data_prep.options import stored_options
from data_prep.registry import (
    Raw,
    dataset_module,
    dataset_options,
    raw_folder,
    sources_of,
    stored_name,
)
from data_prep.shared import Places
from data_prep.sources import identify


def prepare(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    home: Path,
    raw: Path | None = None,
    store: str | None = None,
    network: Network | None = None,
    map: Map = map,
    progress: Progress | None = None,
) -> Entry:
    """Return the published cache entry, making it first where it is not there or is damaged.

    raw: the folder of the raw files (default: `raw` in the options, else `<home>/raw/<name>`);
    store: where prepared data are shared, before $S4SWEEP_DATA_STORE (see shared.py);
    network: how to download those that are missing (None: nothing is downloaded); map: who makes
    the shards of a generated data set; progress: told (what, done, in all or 0).
    Raises DataError: a wrong name or option, missing raw files, a full disk.
    """
    module = dataset_module(name)
    made = dataset_options(name, options)
    if stored_name(name) != name:
        return prepare(
            stored_name(name),
            stored_options(made),
            home=home,
            raw=raw or raw_folder(name, home, options),
            store=store,
            network=network,
            map=map,
            progress=progress,
        )
    request = Request(name, module.CARD.version, stored_options(made))
    places = Places.of(home, name, store)
    source = Raw(folder=raw or raw_folder(name, home, options), options=made)
    build = Build(module, name, dict(options or {}), request, source, map, progress)
    build = dataclasses.replace(build, place=_place(source.folder, home))
    if build.is_generated:
        return places.publish(request.fingerprint(None), build)
    if not is_present(sources_of(module, source)):
        # Somebody prepared it already: what was published is all that is needed here.
        fingerprint = places.find(request, build.place)
        if fingerprint is not None:
            return places.publish(fingerprint, build)
        bring(module, source, network=network, progress=progress)
    files = sources_of(module, source)
    checksum = identify(files, root=source.folder, ledger=places.home / "sources.json")
    build = dataclasses.replace(build, checksum=checksum)
    return places.publish(request.fingerprint(checksum), build)


def look(name: str, options: Mapping[str, Any] | None = None, *, home: Path) -> None:
    """Look briefly at raw files of the user's own, which nobody else can bring.

    Raises MissingRaw if there are none, and DataError for what their names and headers show wrong.
    """
    module = dataset_module(name)
    raw = Raw(folder=raw_folder(name, home, options), options=dataset_options(name, options))
    if not hasattr(module, "glance"):
        return
    if not is_present(sources_of(module, raw)):
        bring(module, raw)
    module.glance(raw)


def _place(folder: Path, home: Path) -> str:
    """Name a raw folder so that a home may be moved, or mounted elsewhere on another node."""
    whole = folder.absolute()
    inside = whole.is_relative_to(home.absolute())
    return str(whole.relative_to(home.absolute()) if inside else whole)
