"""Raw files to where a data set looks for them, or one line that says what is missing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from data_prep.card import RawFile
from data_prep.errors import MissingRaw
from data_prep.fetch import Network, Progress, fetch
from data_prep.registry import Raw, files_of, sources_of
from data_prep.sources import sha256_of
from data_prep.unpack import unpack

_log = logging.getLogger(__name__)


def is_present(files: Iterable[Path]) -> bool:
    """Whether there are files, and all of them exist."""
    files = tuple(files)
    return bool(files) and all(f.is_file() for f in files)


def bring(
    module: ModuleType,
    raw: Raw,
    *,
    network: Network | None = None,
    progress: Progress | None = None,
) -> None:
    """Download what is missing, if that is wanted, and unpack; raise MissingRaw otherwise."""
    name, files = module.CARD.name, files_of(module, raw.options)
    missing = [
        f
        for f in files
        if not (raw.folder / f.path).is_file()
        and not (f.unpack is not None and (raw.folder / f.unpack).is_dir())
    ]
    if not files or (missing and network is None):
        raise MissingRaw(_what_is_missing(name, module.CARD.layout, raw.folder, missing))
    for file in missing:
        fetch(file, raw.folder, network=network, progress=progress)
    for file in files:
        if file.unpack is not None and (raw.folder / file.path).is_file():
            unpack(raw.folder / file.path, raw.folder / file.unpack)
    if not is_present(sources_of(module, raw)):
        raise MissingRaw(_what_is_missing(name, module.CARD.layout, raw.folder, []))


def tell_of_others(module: ModuleType, raw: Raw) -> None:
    """Warn of raw files that somebody put there and that are not those which were published."""
    for file in files_of(module, raw.options):
        path = raw.folder / file.path
        if file.sha256 is None or not path.is_file():
            continue
        found = sha256_of(path)
        if found != file.sha256:
            _log.warning(
                "%s is not the published file and is used as it is (sha256 %s, published: %s).",
                path,
                found,
                file.sha256,
            )


def _what_is_missing(name: str, layout: str, folder: Path, missing: Sequence[RawFile]) -> str:
    """One line: what to download, how large, and where to put it."""
    if not missing:
        return f"{name}: no raw files in {folder}. {layout}".strip()
    line = f"{name}: {', '.join(f.shown for f in missing)} missing in {folder}."
    if all(f.urls for f in missing):
        folder_urls = dict.fromkeys(f.urls[0].rsplit("/", 1)[0] for f in missing)
        line += f" `s4sweep data prepare {name}` downloads from {', '.join(folder_urls)}."
    return f"{line} {layout}".strip()
