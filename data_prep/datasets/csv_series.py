"""Your own series from CSV files: no code, only options.

wide: a line is a series; `label` is one column, every other one a step.
long: a line is a step; `series` names the column that tells series apart, `label` the target (one a
series, or one a step), every other numeric column is a channel, and `time`, if named, makes the
steps irregular.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_prep.arrow import Column
from data_prep.card import DatasetCard, TaskInfo
from data_prep.errors import DataError, nearest
from data_prep.moments import moments, row_sums, sum_columns
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.splits import random_folds
from data_prep.transforms import Series, Stored, Subset, View

SPLITS = ("series",)
FOLDS = ("train", "val", "test")

CARD = DatasetCard(
    name="csv_series",
    title="Your own series, from CSV files",
    source="your files",
    licence="yours",
    citation="",
    version=1,
    shapes="x (steps, channels), ragged or not; a class or a value, a series or a step",
    units="each channel with mean 0 and deviation 1 over the training series (normalise: unit)",
    splits={},
    cached_bytes=0,
    layout="Put one or more .csv files with a header there: see the options.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """layout: see above; label, series, time, group, split: names of columns. group: rows of a
    group (a patient, a machine) stay in one part; split: a column that says train, val or test (""
    draws them). target: what the label is. val, test: shares drawn; seed: of the draw. normalise:
    "unit" by the training series, or "none"."""

    layout: Literal["wide", "long"] = "wide"
    label: str = "label"
    series: str = "series"
    time: str = ""
    group: str = ""
    split: str = ""
    target: Literal["class", "value", "step_class", "step_value"] = "class"
    val: float = view_option(0.15)
    test: float = view_option(0.15)
    seed: int = view_option(0)
    normalise: Literal["unit", "none"] = view_option("unit")

    def __post_init__(self) -> None:
        if self.layout == "wide" and (self.time or self.target.startswith("step")):
            raise ValueError("need layout: long for a time column or a target a step.")
        if min(self.val, self.test) <= 0 or self.val + self.test >= 1:
            raise ValueError(f"need val, test > 0 and val + test < 1, got {self.val}, {self.test}.")

    @property
    def is_class(self) -> bool:
        """Whether labels are names."""
        return self.target.endswith("class")


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the CSV files."""
    return tuple(sorted(raw.folder.glob("*.csv")))


def survey(raw: Raw) -> Mapping[str, Any]:
    """Read the tables once: what the classes, groups and channels are."""
    options: Options = raw.options
    table = _table(raw)
    special = {options.label, options.group, options.split} - {""}
    if options.layout == "long":
        special |= {options.series, options.time} - {""}
    for name in special:
        if name not in table.column_names:
            raise DataError(f"csv_series: no column {name!r}: {nearest(name, table.column_names)}")
    channels = [n for n in table.column_names if n not in special]
    if not channels:
        raise DataError(f"csv_series: no column is left beside {', '.join(sorted(special))}.")
    classes = sorted({str(v) for v in table[options.label].to_pylist()}) if options.is_class else []
    groups = sorted({str(v) for v in table[options.group].to_pylist()}) if options.group else []
    return {
        "channels": channels if options.layout == "long" else [options.layout],
        "classes": classes,
        "_steps": channels,
        "_groups": groups,
        "_table": table,
    }


def _table(raw: Raw) -> pa.Table:
    try:
        tables = [pyarrow.csv.read_csv(path) for path in sources(raw)]
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowInvalid as error:
        raise DataError(f"csv_series: {raw.folder}: {error}") from error


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a series, its target, its part and group, and its sums a channel."""
    options: Options = raw.options
    ragged = None if options.target.startswith("step") else ()
    found = {
        "x": Column("float32", None),
        "y": Column("int32" if options.is_class else "float32", ragged),
        "fold": Column("uint8"),
        "group": Column("int32"),
        **sum_columns(len(raw.facts["channels"])),
    }
    return {**found, "dt": Column("float32", None)} if options.time else found


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read every series, in the order of its first line."""
    options: Options = raw.options
    table, facts = raw.facts["_table"], raw.facts
    x = np.stack([_numbers(table, name) for name in facts["_steps"]], axis=1)
    y = _labels(table, options, facts["classes"])
    for number, lines in enumerate(_series(table, options)):
        first = int(lines[0])
        row: dict[str, Any] = {"group": number, "fold": 0}
        if options.time:
            times = _numbers(table, options.time).astype(np.float64)[lines]
            lines, times = lines[np.argsort(times, kind="stable")], np.sort(times)
            gaps = np.diff(times)
            typical = float(np.median(gaps)) if len(gaps) else 1.0
            row["dt"] = np.concatenate([[typical], gaps]).astype(np.float32)
        values = x[lines] if options.layout == "long" else x[first][:, None]
        values = values[: _steps(values)]
        row |= {"x": values.reshape(-1), **row_sums(values)}
        row["y"] = y[lines] if options.target.startswith("step") else y[first]
        if options.group:
            row["group"] = facts["_groups"].index(str(table[options.group][first].as_py()))
        if options.split:
            row["fold"] = _fold(str(table[options.split][first].as_py()))
        yield row


def _series(table: pa.Table, options: Options) -> Iterator[np.ndarray]:
    """Yield the lines of each series."""
    if options.layout == "wide":
        yield from np.arange(table.num_rows)[:, None]
        return
    lines: dict[Any, list[int]] = {}
    for line, name in enumerate(table[options.series].to_pylist()):
        lines.setdefault(name, []).append(line)
    yield from (np.array(found) for found in lines.values())


def _steps(values: np.ndarray) -> int:
    """Return the steps of a series: empty cells at its end are no steps."""
    (seen,) = np.where(~np.isnan(values).all(axis=1))
    steps = int(seen[-1]) + 1 if len(seen) else 0
    if steps == 0 or np.isnan(values[:steps]).any():
        raise DataError("csv_series: a series is empty or has an empty cell in its middle.")
    return steps


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    try:
        return np.asarray(table[name].cast(pa.float32()).to_numpy(), np.float32)
    except pa.ArrowInvalid as error:
        raise DataError(f"csv_series: the column {name!r} is not numeric: {error}.") from error


def _labels(table: pa.Table, options: Options, classes: list[str]) -> np.ndarray:
    if not options.is_class:
        return _numbers(table, options.label)
    number = {name: place for place, name in enumerate(classes)}
    return np.array([number[str(v)] for v in table[options.label].to_pylist()], np.int64)


def _fold(name: str) -> int:
    if name not in FOLDS:
        raise DataError(f"csv_series: the split column says {name!r}: {nearest(name, FOLDS)}")
    return FOLDS.index(name)


def view(stored: Stored) -> View:
    """Read normalised series, split by the column or by lot."""
    options: Options = stored.options
    part = stored.part("series")
    rows = np.arange(part.rows)
    splits = _split_rows(options, part.gather("fold", rows), part.gather("group", rows))
    channels = len(stored.facts["channels"])
    lengths = part.lengths("x") // channels
    scale = shift = np.zeros(0)
    if options.normalise == "unit":
        mean, std = moments(part, splits[0], int(lengths[splits[0]].sum()))
        scale = 1 / np.maximum(std, 1e-8)
        shift = -mean * scale
    task = TaskInfo(
        d_input=channels,
        d_output=len(stored.facts["classes"]) if options.is_class else 1,
        length=int(lengths.max()),
        target=options.target,
        ragged=bool(lengths.min() != lengths.max()),
        irregular=bool(options.time),
    )
    read = Series(channels=channels, scale=tuple(scale.tolist()), shift=tuple(shift.tolist()))
    parts = zip(FOLDS, splits, strict=True)
    return View(task=task, read=read, splits={n: Subset(part="series", index=i) for n, i in parts})


def _split_rows(
    options: Options, fold: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if options.split:
        train, val, test = (np.flatnonzero(fold == k) for k in range(3))
        if not (len(train) and len(val) and len(test)):
            raise DataError("csv_series: the split column must name train, val and test rows.")
        return train, val, test
    try:
        return random_folds(group, (options.val, options.test), options.seed)
    except ValueError as error:
        raise DataError(f"csv_series: {error}") from error
