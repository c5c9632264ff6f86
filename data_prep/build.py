"""Rows to the files of a cache entry, in this process or, shard by shard, in many.

The bytes are the same for any number of workers, because shards are put together in their own
order; a shard that has rows seen before is made up for by the next ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from data_prep.arrow import Column, Packed, Part, Spool, pack
from data_prep.bring import bring, is_present, tell_of_others
from data_prep.cache import Request
from data_prep.card import Split
from data_prep.errors import DataError
from data_prep.fetch import Progress
from data_prep.registry import Raw, dataset_module, dataset_options, sources_of, splits_of

ROWS_PER_PACK = 256


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


@dataclasses.dataclass(frozen=True)
class Build:
    """Writes the files of an entry into a folder and returns its manifest.

    checksum, place: what the raw files are (None if generated), and where they lie.
    """

    module: ModuleType
    name: str
    given: Mapping[str, Any]
    request: Request
    raw: Raw
    map: Map
    progress: Progress | None = None
    checksum: str | None = None
    place: str = ""

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
        if not self.is_generated and not is_present(sources_of(self.module, raw)):
            bring(self.module, raw)
        tell_of_others(self.module, raw)
        if hasattr(self.module, "survey"):
            raw = dataclasses.replace(raw, facts=self.module.survey(raw))
        seen: set[bytes] = set()
        splits = {}
        for split in splits_of(self.module, raw.options):
            columns: Mapping[str, Column] = self.module.columns(raw, split)
            with Spool(folder, columns) as spool:
                for packed in self._packs(split, raw, columns, seen):
                    spool.append(packed)
                    if self.progress:
                        self.progress(split, spool.rows, (self.sizes or {}).get(split, 0))
                files = spool.write(split)
            if spool.rows == 0:
                raise DataError(f"{self.name}: the raw files in {raw.folder} hold no {split} rows.")
            splits[split] = _describe(spool.rows, files, columns)
        return {
            "dataset": self.name,
            "version": self.request.version,
            "request": self.request.key,
            "options": dict(self.request.options),
            "source": self.checksum,
            "raw": self.place,
            "made_with": {"numpy": np.__version__, "pyarrow": pa.__version__},
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
                if kept is not None and not len(kept):
                    raise DataError(
                        f"{self.name}: {rows:,} different rows for {split} are wanted and "
                        f"{done:,} found: its options allow too few."
                    )
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
    part = Part(files, columns)
    classes: tuple[int, ...] = ()
    y = columns.get("y")
    if y is not None and y.shape == () and np.dtype(y.dtype).kind in "iu":
        classes = tuple(np.bincount(part.gather("y", np.arange(rows))).tolist())
    return {
        **Split(rows=rows, classes=classes).to_json(),
        "files": [f.name for f in files],
        "columns": {n: c.to_json() for n, c in columns.items()},
    }
