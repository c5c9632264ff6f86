"""From raw files, or from a seed, to a published cache entry: once, whoever asks, however many.

Generated data sets are made of independent shards, so `prepare(..., map=...)` may spread them over
any executor (a process pool's `map`, or Ray tasks): the bytes are the same for any number of
workers, because shards are put together in their own order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from data_prep.arrow import Column, Packed, Part, Spool, pack, statistics
from data_prep.cache import Entry, Request, find, publish_once
from data_prep.card import RawFile, Split
from data_prep.errors import DataError, MissingRaw
from data_prep.fetch import Network, fetch
from data_prep.options import stored_options
from data_prep.registry import (
    Raw,
    dataset_module,
    dataset_options,
    files_of,
    raw_folder,
    sources_of,
    splits_of,
    stored_name,
)
from data_prep.sources import identify
from data_prep.unpack import unpack

ROWS_PER_PACK = 256

Progress = Callable[[str, int, int], None]  # (split, rows done, rows in all or 0 if unknown)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One independent piece of a generated data set: enough to make it anywhere."""

    name: str
    options: Mapping[str, Any]
    split: str
    number: int


class Map(Protocol):
    """How shards are made: `map` itself, or the same of an executor; results come in order."""

    def __call__(
        self, function: Callable[[Shard], dict[str, Packed]], shards: Iterable[Shard], /
    ) -> Iterable[dict[str, Packed]]: ...


def make_shard(shard: Shard) -> dict[str, Packed]:
    """Make one shard; a pure function of its argument."""
    module = dataset_module(shard.name)
    options = dataset_options(shard.name, shard.options)
    columns = module.columns(Raw(folder=Path(), options=options), shard.split)
    return pack(list(module.generate(options, shard.split, shard.number)), columns)


def prepare(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    home: Path,
    raw: Path | None = None,
    network: Network | None = None,
    map: Map = map,
    progress: Progress | None = None,
) -> Entry:
    """Return the published cache entry, making it first where it is not there or is damaged.

    raw: the folder of the raw files (default: `raw` in the options, else `<home>/raw/<name>`);
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
            network=network,
            map=map,
            progress=progress,
        )
    request = Request(name, module.CARD.version, stored_options(made))
    folder = home / "data" / name
    source = Raw(folder=raw or raw_folder(name, home, options), options=made)
    build = _Build(module, name, dict(options or {}), request, source, map, progress)
    if build.is_generated:
        return publish_once(folder, request.fingerprint(None), build)[0]
    if not _present(sources_of(module, source)):
        entry = find(folder, request, None)
        if entry is None:
            _bring(module, source, network=network, progress=progress)
        else:
            # Another node prepared it: what it published is all that is needed here.
            return publish_once(folder, entry.fingerprint, build)[0]
    checksum = identify(
        sources_of(module, source), root=source.folder, ledger=folder / "sources.json"
    )
    build = dataclasses.replace(build, checksum=checksum)
    return publish_once(folder, request.fingerprint(checksum), build)[0]


def _present(files: Iterable[Path]) -> bool:
    files = tuple(files)
    return bool(files) and all(f.is_file() for f in files)


def _bring(
    module: ModuleType, raw: Raw, *, network: Network | None, progress: Progress | None
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
    if not _present(sources_of(module, raw)):
        raise MissingRaw(_what_is_missing(name, module.CARD.layout, raw.folder, []))


def _what_is_missing(name: str, layout: str, folder: Path, missing: Sequence[RawFile]) -> str:
    """One line: what to download, how large, and where to put it."""
    if not missing:
        return f"{name}: no raw files in {folder}. {layout}".strip()
    sizes = [f"{f.path} ({f.size / 1e6:,.1f} MB)" if f.size else f.path for f in missing]
    line = f"{name}: {', '.join(sizes)} missing in {folder}."
    if all(f.urls for f in missing):
        folder_urls = dict.fromkeys(f.urls[0].rsplit("/", 1)[0] for f in missing)
        line += f" `s4sweep data prepare {name}` downloads from {', '.join(folder_urls)}."
    return f"{line} {layout}".strip()


@dataclasses.dataclass(frozen=True)
class _Build:
    """Writes the files of an entry into a folder and returns its manifest."""

    module: ModuleType
    name: str
    given: Mapping[str, Any]
    request: Request
    raw: Raw
    map: Map
    progress: Progress | None = None
    checksum: str | None = None

    @property
    def sizes(self) -> Mapping[str, int] | None:
        """Rows of each split of a generated data set."""
        if not hasattr(self.module, "sizes"):
            return None
        sizes: Mapping[str, int] | None = self.module.sizes(self.raw.options)
        return sizes

    @property
    def is_generated(self) -> bool:
        """Whether no raw file is read."""
        return self.sizes is not None

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        """Build everything; see `publish_once`."""
        raw = self.raw
        if not self.is_generated and not _present(sources_of(self.module, raw)):
            _bring(self.module, raw, network=None, progress=None)
        if hasattr(self.module, "survey"):
            raw = dataclasses.replace(raw, facts=self.module.survey(raw))
        seen: set[bytes] = set()
        splits = {}
        for split in splits_of(self.module, raw.options):
            columns: Mapping[str, Column] = self.module.columns(raw, split)
            spool = Spool(folder, columns)
            for packed in self._packs(split, raw, columns, seen):
                spool.append(packed)
                if self.progress:
                    self.progress(split, spool.rows, (self.sizes or {}).get(split, 0))
            files = spool.write(split)
            splits[split] = _describe(spool.rows, files, columns)
        return {
            "dataset": self.name,
            "version": self.request.version,
            "request": self.request.key,
            "options": dict(self.request.options),
            "source": self.checksum,
            "facts": {k: v for k, v in raw.facts.items() if not k.startswith("_")},
            "splits": splits,
        }

    def _packs(
        self, split: str, raw: Raw, columns: Mapping[str, Column], seen: set[bytes]
    ) -> Iterator[dict[str, Packed]]:
        if self.sizes is not None:
            yield from self._shards(split, self.sizes[split], seen)
            return
        rows = iter(self.module.examples(raw, split))
        while chunk := list(itertools.islice(rows, ROWS_PER_PACK)):
            yield pack(chunk, columns)

    def _shards(self, split: str, rows: int, seen: set[bytes]) -> Iterator[dict[str, Packed]]:
        """Yield whole shards, less what was seen before, until there are `rows` rows."""
        per_shard = int(self.module.SHARD_ROWS)
        done, number = 0, 0
        while done < rows:
            count = -(-(rows - done) // per_shard)
            numbers = range(number, number + count)
            number += count
            for packed in self.map(
                make_shard, [Shard(self.name, self.given, split, n) for n in numbers]
            ):
                kept = _distinct(packed, seen) if getattr(self.module, "DISTINCT", False) else None
                packed = _take(packed, kept, rows - done)
                done += _rows(packed)
                yield packed


def _rows(packed: Mapping[str, Packed]) -> int:
    column = next(iter(packed.values()))
    return len(column.values if column.lengths is None else column.lengths)


def _distinct(packed: Mapping[str, Packed], seen: set[bytes]) -> np.ndarray:
    """Return the rows whose x was never seen, and remember them."""
    x = packed["x"]
    rows = list(x.values) if x.lengths is None else np.split(x.values, np.cumsum(x.lengths)[:-1])
    kept = []
    for number, row in enumerate(rows):
        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            kept.append(number)
    return np.array(kept, dtype=np.int64)


def _take(packed: dict[str, Packed], kept: np.ndarray | None, at_most: int) -> dict[str, Packed]:
    """Return the rows `kept` (None: all), and no more than `at_most` of them."""
    rows = _rows(packed)
    if (kept is None or len(kept) == rows) and rows <= at_most:
        return packed
    kept = (np.arange(rows) if kept is None else kept)[:at_most]
    taken = {}
    for name, column in packed.items():
        if column.lengths is None:
            taken[name] = Packed(column.values[kept])
            continue
        pieces = np.split(column.values, np.cumsum(column.lengths)[:-1])
        values = np.concatenate([pieces[i] for i in kept]) if len(kept) else column.values[:0]
        taken[name] = Packed(values, column.lengths[kept])
    return taken


def _describe(rows: int, files: list[Path], columns: Mapping[str, Column]) -> dict[str, Any]:
    """Return the manifest's block of one part."""
    if rows == 0:
        raise DataError(f"the part {files[0].stem} has no rows.")
    part = Part(files, columns)
    classes: tuple[int, ...] = ()
    y = columns.get("y")
    if y is not None and y.shape == () and np.dtype(y.dtype).kind in "iu":
        classes = tuple(np.bincount(part.gather("y", np.arange(rows))).tolist())
    return {
        **Split(rows=rows, classes=classes).to_json(),
        "files": [f.name for f in files],
        "columns": {n: c.to_json() for n, c in columns.items()},
        "stats": statistics(files, columns),
    }
