"""The lines of CSV files as columns; a mistake is told with its file, line and column."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_prep.errors import DataError

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """data: every line but the headers; starts: the place in it of each file's first line."""

    data: pa.Table
    paths: tuple[Path, ...]
    starts: tuple[int, ...]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> CsvTable:
        """Read the files; raises DataError for one that is no CSV or does not fit the others."""
        tables: list[pa.Table] = []
        schema = pa.schema([])
        for path in paths:
            try:
                tables.append(pyarrow.csv.read_csv(path))
                assert tables[-1].column_names  # pyarrow decodes them only now
                schema = pa.unify_schemas([schema, tables[-1].schema], promote_options="permissive")
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                raise DataError(f"csv_series: {path}: {error}") from error
            except pa.ArrowTypeError as error:
                raise DataError(
                    f"csv_series: {path}: {error} (the files before it first): write a column in "
                    "one way, as numbers, times or text, in every file."
                ) from error
        try:
            data = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        except pa.ArrowInvalid as error:
            raise DataError(f"csv_series: {paths[0].parent}: {error}") from error
        starts = itertools.accumulate((t.num_rows for t in tables[:-1]), initial=0)
        return cls(data, tuple(paths), tuple(starts))

    def error(self, line: int, message: str) -> DataError:
        """Return what is wrong with a line of `data`, with its place."""
        file = bisect.bisect_right(self.starts, line) - 1
        text = self.paths[file].read_bytes().splitlines()
        numbers = [number for number, content in enumerate(text, start=1) if content]
        place = f"{self.paths[file]}:{numbers[line - self.starts[file] + 1]}"
        return DataError(f"csv_series: {place}: {message}")

    def refuse(self, wrong: np.ndarray, name: str, why: str, cure: str) -> None:
        """Raise DataError for the first line that is wrong, if there is one."""
        if wrong.any():
            line = int(wrong.argmax())
            found = self.value(name, line)
            shown = "" if found in (None, "") else f" ({found})"
            raise self.error(line, f"the column {name!r} {why}{shown}: {cure}.")

    def value(self, name: str, line: int) -> Any:
        """Return one cell."""
        return self.data[name][int(line)].as_py()

    def names(self, name: str) -> list[str]:
        """Return a column as text, "" where it is empty."""
        return ["" if v is None else str(v) for v in self.data[name].to_pylist()]

    def filled(self, name: str) -> list[str]:
        """Return a column as text; raises DataError where it is empty."""
        found = self.names(name)
        if "" in found:
            raise self.error(found.index(""), f"the column {name!r} is empty: fill it.")
        return found

    def numbers(self, name: str) -> np.ndarray:
        """Return a column, float32 (lines,), NaN where it is empty; raises DataError for text."""
        exact = self._floats(self.data[name], name, "mend it, or leave the column out")
        with np.errstate(over="ignore"):
            values = exact.astype(np.float32)
        self.refuse(np.isinf(values), name, "is no finite float32 number", "mend it")
        return values

    def times(self, name: str) -> np.ndarray:
        """Return a column, float64 (lines,): numbers as they are, dates and timestamps in seconds.

        Counted in whole numbers from the first line, so that no digit of a gap is lost.
        """
        column, unit = self.data[name], 1.0
        self.refuse(column.is_null().to_numpy(), name, "is empty", "every step has a time")
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("s"))
        if pa.types.is_timestamp(column.type):
            unit = SECONDS[column.type.unit]
            column = column.cast(pa.int64())
        if pa.types.is_integer(column.type):
            whole = column.to_numpy()
            return np.asarray((whole - whole[:1]) * unit, np.float64)
        values = self._floats(column, name, "write numbers, or dates and times as 2026-01-31T08:30")
        self.refuse(~np.isfinite(values), name, "is no finite number", "mend it")
        return values

    def _floats(self, column: pa.ChunkedArray, name: str, cure: str) -> np.ndarray:
        try:
            return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            wrong = np.array([not _is_number(v) for v in column.to_pylist()])
            self.refuse(wrong, name, "is not numeric", cure)
            raise DataError(f"csv_series: the column {name!r} is not numeric: {error}.") from error


def first_columns(paths: Sequence[Path]) -> list[str]:
    """Return the columns that any of the files has; raises DataError for one that is no CSV."""
    found: dict[str, None] = {}
    for path in paths:
        try:
            with pyarrow.csv.open_csv(path) as reader:  # its first MB
                found |= dict.fromkeys(reader.schema.names)
        except pa.ArrowInvalid as error:
            raise DataError(f"csv_series: {path}: {error}") from error
    return list(found)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None
    return True
