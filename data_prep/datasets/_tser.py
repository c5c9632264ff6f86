"""The .ts tables of the time series regression archive, and BIDMC's three targets in that form.

All windows are one stored part; a split is row numbers. Windows of one recording overlap, so a
random split leaks: which windows share samples is found out by comparing them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.splits import random_folds, sklearn_split
from data_prep.transforms import Dense, Stored, Subset, View

STEPS, CHANNELS = 4000, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """split: "s4_reshuffle" as S4 published (70/15/15 at random over the windows, which leaks),
    "tser" (the archive's test part; the last seventh of its training part validates), or
    "subject" (no recording is in two parts)."""

    split: Literal["s4_reshuffle", "tser", "subject"] = view_option("s4_reshuffle")


def card(
    target: str, title: str, record: int, *, unit: str, rows: tuple[int, int, int]
) -> DatasetCard:
    """Return the card of one of BIDMC's targets; `target` is part of the files' names."""
    return DatasetCard(
        name=f"bidmc_{target.lower()}",
        title=title,
        source=f"zenodo.org/record/{record} (time series extrinsic regression archive)",
        licence="ODC-BY 1.0 (PhysioNet's BIDMC PPG and Respiration)",
        citation="Pimentel et al. 2017; Tan et al. 2020, arXiv:2006.10996",
        version=1,
        shapes="x (4000, 2): photoplethysmogram and electrocardiogram, 32 s at 125 Hz; one number",
        units=f"signals as published, not normalised; the target in {unit}",
        splits=dict(zip(("train", "val", "test"), rows, strict=True)),
        cached_bytes=sum(rows) * (4 * STEPS * CHANNELS + 9),
        files=tuple(
            RawFile(
                path=f"BIDMC32{target}_{part}.ts",
                urls=(f"https://zenodo.org/record/{record}/files/BIDMC32{target}_{part}.ts",),
            )
            for part in ("TRAIN", "TEST")
        ),
        differs=(
            "S4 merges the archive's two parts and splits the windows at random: they overlap by "
            "about 29 of 32 seconds, so near copies of test windows are trained on.",
            "S4's notebook splits differently from its script, and shifts validation by one row.",
            "S4 trains on the squared error and reports its root, without scaling the target.",
        ),
    )


def read_ts(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each series (steps, channels) float32 of a .ts file, and its value.

    Raises DataError, with the line, for what is not in that format.
    """
    with path.open(encoding="latin-1") as file:
        in_data = False
        for number, line in enumerate(file, start=1):
            line = line.strip().lower()
            if not line or line.startswith(("#", "@")):
                in_data = in_data or line == "@data"
                continue
            if not in_data:
                raise DataError(f"{path}:{number}: data before @data.")
            *channels, value = line.split(":")
            try:
                x = np.array([c.replace("?", "nan").split(",") for c in channels], np.float32)
                yield np.ascontiguousarray(x.T), float(value)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from error


def sources(raw: Raw, files: tuple[RawFile, ...]) -> tuple[Path, ...]:
    """Return the two parts of the archive."""
    return tuple(raw.folder / f.path for f in files)


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a window, its value, the archive's part, and the recording it is from."""
    plain = {"y": Column("float32"), "fold": Column("uint8"), "recording": Column("int32")}
    return {"x": Column("float32", (STEPS, CHANNELS)), **plain}


def survey(raw: Raw, files: tuple[RawFile, ...]) -> Mapping[str, Any]:
    """Find the windows that share samples: those of one recording."""
    windows = (x[:, 0] for path in sources(raw, files) for x, _ in read_ts(path))
    owners = recordings(windows)
    return {"recordings": len(set(owners)), "_owners": owners}


def recordings(windows: Iterator[np.ndarray], *, run: int = 16, one_in: int = 64) -> list[int]:
    """Return a number for each window (steps,), the same for windows that have samples in common.

    A rolling hash over `run` samples marks about every `one_in`-th place by its own content, so an
    overlap is marked at the same samples in both windows, wherever it lies in them.
    """
    factors = np.power(np.uint64(6364136223846793005), np.arange(run, dtype=np.uint64))
    parent: list[int] = []

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    seen: dict[int, int] = {}
    for number, window in enumerate(windows):
        parent.append(number)
        bits = np.ascontiguousarray(window, np.float32).view(np.uint32).astype(np.uint64)
        runs = np.lib.stride_tricks.sliding_window_view(bits, run)
        marks = runs @ factors
        marks ^= marks >> np.uint64(29)
        for place in np.flatnonzero(marks % np.uint64(one_in) == 0):
            if len(set(runs[place].tolist())) < run // 2:
                continue  # a flat line is alike in every recording
            other = seen.setdefault(int(marks[place]), number)
            parent[root(number)] = root(other)
    return [root(i) for i in range(len(parent))]


def examples(raw: Raw, split: str, files: tuple[RawFile, ...]) -> Iterator[Mapping[str, Any]]:
    """Read the training part, then the test part."""
    owners = iter(raw.facts["_owners"])
    for fold, path in enumerate(sources(raw, files)):
        for x, value in read_ts(path):
            yield {"x": x, "y": value, "fold": fold, "recording": next(owners)}


def view(stored: Stored) -> View:
    """Read windows as they are."""
    part = stored.part("windows")
    rows = np.arange(part.rows)
    splits = split_rows(
        stored.options.split, part.gather("fold", rows), part.gather("recording", rows)
    )
    return View(
        task=TaskInfo(d_input=CHANNELS, d_output=1, length=STEPS, target="value"),
        read=Dense(channels=CHANNELS),
        splits={
            name: Subset(part="windows", index=index)
            for name, index in zip(("train", "val", "test"), splits, strict=True)
        },
    )


def split_rows(kind: str, fold: np.ndarray, recording: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the rows of train, val and test."""
    if kind == "tser":
        (train,), (test,) = np.where(fold == 0), np.where(fold == 1)
        cut = len(train) - len(train) // 7
        return train[:cut], train[cut:], test
    if kind == "subject":
        if len(np.unique(recording)) > len(recording) // 2:
            raise DataError("bidmc: no two windows share samples, so recordings cannot be told.")
        return random_folds(recording, (0.15, 0.15), 0)
    held_out = int(np.ceil(0.3 * len(fold)))
    train, rest = sklearn_split(len(fold), held_out, 0)
    val, test = sklearn_split(held_out, -(-held_out // 2), 1)
    return train, rest[val], rest[test]
