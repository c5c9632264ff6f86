"""Your own series from CSV files: no code, only options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.card import DatasetCard, TaskInfo
from data_prep.datasets._csv_table import CsvTable, first_columns
from data_prep.errors import DataError, nearest
from data_prep.moments import moments, row_sums, sum_columns
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.splits import random_folds
from data_prep.transforms import IGNORE, Series, Stored, Subset, View

SPLITS = ("series",)
FOLDS = ("train", "val", "test")

CARD = DatasetCard(
    name="csv_series",
    title="Your own series, from CSV files",
    source="your files",
    licence="yours",
    citation="",
    version=2,
    shapes="x (steps, channels), ragged or not; a class or a value, a series or a step",
    units="each channel with mean 0 and deviation 1 over the training series (normalise: unit)",
    splits={},
    cached_bytes=0,
    layout="Put one or more .csv files with a header there: see the options.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """layout: wide, a line is a series and every column but those named here a step; long, a line
    is a step and such a column a channel. Empty cells at the end of a series are no steps. label,
    series, time, group, split: names of columns. time makes steps irregular: numbers, or dates and
    ISO times (then in seconds); group: rows of a group (a patient, a machine) stay in one part;
    split: a column that says train, val or test ("" draws them). target: what the label is, one a
    series or one a step (a step without one counts in no loss). val, test: shares drawn; seed: of
    the draw. normalise: "unit" by the training series, or "none"."""

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
    table = CsvTable.read(sources(raw))
    channels = _channels(options, table.data.column_names)
    return {
        "channels": channels if options.layout == "long" else [options.layout],
        "classes": sorted({*table.names(options.label)} - {""}) if options.is_class else [],
        "_steps": channels,
        "_table": table,
    }


def glance(raw: Raw) -> None:
    """Read the beginnings of the tables: whether they are some, and have the columns."""
    _channels(raw.options, first_columns(sources(raw)))


def _channels(options: Options, names: Sequence[str]) -> list[str]:
    """Return the columns that are not named in the options; raises DataError for one missing."""
    special = {options.label, options.group, options.split} - {""}
    if options.layout == "long":
        special |= {options.series, options.time} - {""}
    for name in special:
        if name not in names:
            raise DataError(f"csv_series: no column {name!r}: {nearest(name, names)}")
    channels = [n for n in names if n not in special]
    if not channels:
        raise DataError(f"csv_series: no column is left beside {', '.join(sorted(special))}.")
    return channels


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
    table: CsvTable = raw.facts["_table"]
    is_long, by_step = options.layout == "long", options.target.startswith("step")
    x = np.stack([table.numbers(name) for name in raw.facts["_steps"]], axis=1)
    times = table.times(options.time) if options.time else None
    y = _labels(table, options, raw.facts["classes"])
    once = _told_once(table, options) | ({} if by_step else {"y": (options.label, y)})
    for number, lines in enumerate(_series(table, options)):
        if times is not None:
            lines = lines[np.argsort(times[lines], kind="stable")]
        values = x[lines] if is_long else x[lines[0]][:, None]
        values = values[: _steps(values, lines, raw)]
        row = {"group": number, "fold": 0, "x": values.reshape(-1), **row_sums(values)}
        row |= {key: _once(table, *column, lines) for key, column in once.items()}
        if is_long:
            lines = lines[: len(values)]
        if times is not None:
            gaps = np.diff(times[lines])
            typical = float(np.median(gaps)) if len(gaps) else 1.0
            row["dt"] = np.concatenate([[typical], gaps]).astype(np.float32)
        if by_step:
            row["y"] = y[lines]
            if _is_empty(row["y"]).all():
                raise table.error(lines[0], "no step of the series has a label: leave it out.")
        yield row
    if options.is_class and len(raw.facts["classes"]) == 1:
        (only,) = raw.facts["classes"]
        raise DataError(
            f"csv_series: every {options.label!r} in {raw.folder} is {only!r}: need two classes."
        )


def _series(table: CsvTable, options: Options) -> Iterator[np.ndarray]:
    """Yield the lines of each series."""
    if options.layout == "wide":
        yield from np.arange(table.data.num_rows)[:, None]
        return
    lines: dict[str, list[int]] = {}
    for line, name in enumerate(table.filled(options.series)):
        lines.setdefault(name, []).append(line)
    yield from (np.array(found) for found in lines.values())


def _steps(values: np.ndarray, lines: np.ndarray, raw: Raw) -> int:
    """Return the steps of a series: empty cells at its end are no steps."""
    table: CsvTable = raw.facts["_table"]
    empty = np.isnan(values)
    (seen,) = np.where(~empty.all(axis=1))
    if len(seen) == 0:
        raise table.error(lines[0], "the series is empty: leave it out.")
    steps = int(seen[-1]) + 1
    if empty[:steps].any():
        step, channel = np.argwhere(empty[:steps])[0]
        is_long = raw.options.layout == "long"
        name = raw.facts["_steps"][channel if is_long else step]
        message = f"the column {name!r} has an empty cell within the series: fill it."
        raise table.error(lines[step] if is_long else lines[0], message)
    return steps


def _labels(table: CsvTable, options: Options, classes: list[str]) -> np.ndarray:
    """Return the label of each line; only those of steps may be empty (IGNORE, or NaN)."""
    if options.is_class:
        y = _numbered(table.names(options.label), classes)
    else:
        y = table.numbers(options.label)
    if not options.target.startswith("step"):
        table.refuse(_is_empty(y), options.label, "is empty", "fill it, or leave the series out")
    return y


def _is_empty(y: np.ndarray) -> np.ndarray:
    return np.asarray(np.isnan(y) if y.dtype.kind == "f" else y == IGNORE)


def _numbered(names: list[str], choices: Sequence[str]) -> np.ndarray:
    number = {"": IGNORE, **{name: place for place, name in enumerate(choices)}}
    return np.array([number[name] for name in names], np.int64)


def _told_once(table: CsvTable, options: Options) -> dict[str, tuple[str, np.ndarray]]:
    """Return the columns that say one thing a series: their names, and a number a line."""
    found = {}
    if options.group:
        names = table.filled(options.group)
        found["group"] = options.group, _numbered(names, sorted(set(names)))
    if options.split:
        names = table.filled(options.split)
        for line, name in enumerate(names):
            if name not in FOLDS:
                message = f"the split column says {name!r}: {nearest(name, FOLDS)}"
                raise table.error(line, message)
        found["fold"] = options.split, _numbered(names, FOLDS)
    return found


def _once(table: CsvTable, name: str, values: np.ndarray, lines: np.ndarray) -> Any:
    """Return the one value of a series; raises DataError where its lines differ."""
    first = values[lines[0]]
    differs = values[lines] != first
    if differs.any():
        line = lines[differs.argmax()]
        here, there = table.value(name, line), table.value(name, lines[0])
        message = (
            f"the column {name!r} says {here!r}, and {there!r} elsewhere in the series: write one "
            "(a label for each step wants target: step_class or step_value)."
        )
        raise table.error(line, message)
    return first


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
