"""Rows to Arrow IPC files and back: written once, memory-mapped by everybody, never copied on open.

A file is uncompressed and holds one record batch, so that a column is one numpy view and a batch of
rows is one gather (5-16 GB/s; `Table.take` over many chunks is 200 times slower). Parts above 4 GB
are written as shards of 2 GB. Rows pass through a spool file per column on their way, so building
needs little memory; that writes the bytes twice, at disk speed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from data_prep.errors import Damaged, DataError

SHARD_ABOVE_BYTES = 4 << 30
SHARD_BYTES = 2 << 30


@dataclasses.dataclass(frozen=True)
class Column:
    """The type of one column: its numpy `dtype`, a row's `shape` (None: 1-D, any length)."""

    dtype: str
    shape: tuple[int, ...] | None = ()

    @property
    def size(self) -> int:
        """Numbers a row; 0 for a ragged column."""
        return 0 if self.shape is None else int(np.prod(self.shape, dtype=np.int64))

    def field(self, name: str) -> pa.Field:
        """The Arrow field, with the shape in its metadata."""
        value = pa.from_numpy_dtype(np.dtype(self.dtype))
        if self.shape is None:
            return pa.field(name, pa.large_list(value), nullable=False)
        if self.shape == ():
            return pa.field(name, value, nullable=False)
        shape = ",".join(str(n) for n in self.shape)
        kind = pa.list_(value, self.size)
        return pa.field(name, kind, nullable=False, metadata={"shape": shape})

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the inverse."""
        return {"dtype": self.dtype, "shape": None if self.shape is None else list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Column:
        """Read what `to_json` wrote."""
        return cls(data["dtype"], None if data["shape"] is None else tuple(data["shape"]))


@dataclasses.dataclass(frozen=True)
class Packed:
    """A column of some rows: all numbers in one array, and each row's length if they are ragged."""

    values: np.ndarray
    lengths: np.ndarray | None = None


def pack(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column]) -> dict[str, Packed]:
    """Turn rows into one array a column.

    Raises DataError where a row lacks a column, has another shape, or would lose information.
    """
    packed = {}
    for name, column in columns.items():
        try:
            arrays = [np.asarray(row[name]) for row in rows]
        except KeyError:
            raise DataError(f"a row has no column {name!r}: it has {sorted(rows[0])}.") from None
        if column.shape is None:
            lengths = np.array([len(a) for a in arrays], dtype=np.int64)
            packed[name] = Packed(_cast(np.concatenate(arrays), column.dtype, name), lengths)
            continue
        wrong = {a.shape for a in arrays} - {column.shape}
        if wrong:
            raise DataError(f"column {name!r} wants shape {column.shape}, got {wrong.pop()}.")
        packed[name] = Packed(_cast(np.stack(arrays), column.dtype, name))
    return packed


def _cast(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return array
    kinds = {"f": "fiu", "i": "iub", "u": "iub"}[wanted.kind]
    fits = array.dtype.kind in kinds
    if fits and wanted.kind in "iu" and array.size:
        info = np.iinfo(wanted)
        fits = bool(array.min() >= info.min and array.max() <= info.max)
    if not fits:
        raise DataError(f"column {name!r} is {dtype}, which cannot hold this {array.dtype} data.")
    return array.astype(wanted)


class Spool:
    """Rows on their way into a part: one temporary file a column, in `folder` (a `with` block)."""

    def __init__(self, folder: Path, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)
        self.rows = 0
        self._folder = folder
        self._files: dict[str, BinaryIO] = {n: (folder / f"{n}.spool").open("wb") for n in columns}
        self._lengths: dict[str, list[np.ndarray]] = {n: [] for n in columns}

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def append(self, packed: Mapping[str, Packed]) -> None:
        """Add rows as `pack` made them."""
        first = next(iter(self.columns))
        for name, column in packed.items():
            self._files[name].write(np.ascontiguousarray(column.values).data)
            if column.lengths is not None:
                self._lengths[name].append(column.lengths)
        head = packed[first]
        self.rows += len(head.values) if head.lengths is None else len(head.lengths)

    def write(self, stem: str) -> list[Path]:
        """Write the part's files, `<stem>.arrow` or numbered shards, and drop the spools."""
        for file in self._files.values():
            file.close()
        values = {n: _map(self._folder / f"{n}.spool", c.dtype) for n, c in self.columns.items()}
        offsets = {
            n: np.concatenate([np.zeros(1, np.int64), *self._lengths[n]]).cumsum()
            for n, c in self.columns.items()
            if c.shape is None
        }
        total = sum(v.nbytes for v in values.values())
        shards = 1 if total <= SHARD_ABOVE_BYTES else -(-total // SHARD_BYTES)
        step = max(1, -(-self.rows // shards))
        starts = range(0, max(self.rows, 1), step)
        names = [f"{stem}.arrow"]
        if len(starts) > 1:
            names = [f"{stem}-{i:05d}-of-{len(starts):05d}.arrow" for i in range(len(starts))]
        paths = [self._folder / name for name in names]
        for path, start in zip(paths, starts, strict=True):
            stop = min(start + step, self.rows)
            _write_file(path, self.columns, values, offsets, start, stop)
        for name in self.columns:
            (self._folder / f"{name}.spool").unlink()
        return paths


def _map(path: Path, dtype: str) -> np.ndarray:
    empty = path.stat().st_size == 0
    return np.zeros(0, dtype) if empty else np.memmap(path, dtype=dtype, mode="r")


def _write_file(
    path: Path,
    columns: Mapping[str, Column],
    values: Mapping[str, np.ndarray],
    offsets: Mapping[str, np.ndarray],
    start: int,
    stop: int,
) -> None:
    arrays = []
    for name, column in columns.items():
        low, high = start * max(column.size, 1), stop * max(column.size, 1)
        if column.shape is None:
            low, high = int(offsets[name][start]), int(offsets[name][stop])
        flat = values[name][low:high]
        kind = pa.from_numpy_dtype(np.dtype(column.dtype))
        array = pa.Array.from_buffers(kind, len(flat), [None, pa.py_buffer(flat)])
        if column.shape is None:
            here = pa.array(offsets[name][start : stop + 1] - low, type=pa.int64())
            array = pa.LargeListArray.from_arrays(here, array)
        elif column.shape != ():
            array = pa.FixedSizeListArray.from_arrays(array, column.size)
        arrays.append(array)
    schema = schema_of(columns)
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def schema_of(columns: Mapping[str, Column]) -> pa.Schema:
    """The Arrow schema of a part."""
    return pa.schema([c.field(n) for n, c in columns.items()])


class Part:
    """One part of a data set, mapped: gathers are copies, and no view of the map is handed out."""

    def __init__(self, paths: Sequence[Path], columns: Mapping[str, Column]) -> None:
        """Map the files; raises Damaged if one is no Arrow file or has another schema."""
        self.columns = dict(columns)
        batches = [_open_file(path, columns) for path in paths]
        self._starts = np.cumsum([0] + [b.num_rows for b in batches])
        self.rows = int(self._starts[-1])
        self._values = {n: [_values(b, n, c) for b in batches] for n, c in columns.items()}
        self._offsets = {
            n: [b.column(n).offsets.to_numpy() for b in batches]
            for n, c in columns.items()
            if c.shape is None
        }

    def gather(self, name: str, index: np.ndarray) -> np.ndarray:
        """Copy the rows `index` (N,) of a column of fixed shape: (N, *shape)."""
        shards = self._values[name]
        if len(shards) == 1:
            gathered: np.ndarray = np.take(shards[0], index, axis=0)
            return gathered
        out = np.empty((len(index), *shards[0].shape[1:]), shards[0].dtype)
        owner = np.searchsorted(self._starts, index, side="right") - 1
        for shard in np.unique(owner):
            mine = owner == shard
            out[mine] = np.take(shards[shard], index[mine] - self._starts[shard], axis=0)
        return out

    def lengths(self, name: str, index: np.ndarray | None = None) -> np.ndarray:
        """Return the lengths of the rows `index` (default: all) of a ragged column, int64."""
        if index is None:
            index = np.arange(self.rows)
        starts, stops, _ = self._spans(name, index)
        return np.asarray(stops - starts)

    def gather_ragged(
        self, name: str, index: np.ndarray, *, width: int, limit: int, fill: int = 0
    ) -> np.ndarray:
        """Copy the rows `index` of a ragged column, cut to `limit`, padded right: (N, width)."""
        starts, stops, owner = self._spans(name, index)
        stops = np.minimum(stops, starts + limit)
        out = np.full((len(index), width), fill, self.columns[name].dtype)
        values = self._values[name]
        spans = zip(owner.tolist(), starts.tolist(), stops.tolist(), strict=True)
        for row, (shard, start, stop) in enumerate(spans):
            out[row, : stop - start] = values[shard][start:stop]
        return out

    def flat(self, name: str, start: int, stop: int) -> np.ndarray:
        """Copy the numbers start .. stop of a column, as if its rows stood one after the other."""
        pieces, first = [], 0
        for shard in self._values[name]:
            flat = shard.reshape(-1)
            pieces.append(flat[max(start - first, 0) : max(stop - first, 0)])
            first += len(flat)
        return np.concatenate(pieces)

    def flat_size(self, name: str) -> int:
        """Return how many numbers a column has in all."""
        return sum(shard.size for shard in self._values[name])

    def _spans(self, name: str, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offsets = self._offsets[name]
        if len(offsets) == 1:
            return offsets[0][index], offsets[0][index + 1], np.zeros(len(index), np.int64)
        owner = np.searchsorted(self._starts, index, side="right") - 1
        local = index - self._starts[owner]
        starts = np.array([offsets[s][i] for s, i in zip(owner, local, strict=True)], np.int64)
        stops = np.array([offsets[s][i + 1] for s, i in zip(owner, local, strict=True)], np.int64)
        return starts, stops, owner


def _open_file(path: Path, columns: Mapping[str, Column]) -> pa.RecordBatch:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(f"{path} is no Arrow file: {error}") from error
    if reader.num_record_batches != 1 or not reader.schema.equals(schema_of(columns), True):
        raise Damaged(f"{path} has another schema than its manifest says.")
    return reader.get_batch(0)


def _values(batch: pa.RecordBatch, name: str, column: Column) -> np.ndarray:
    array = batch.column(name)
    flat = array if column.shape == () else array.values
    view: np.ndarray = flat.to_numpy(zero_copy_only=True)
    return view if column.shape is None else view.reshape(batch.num_rows, *column.shape)
