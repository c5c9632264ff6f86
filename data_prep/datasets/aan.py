"""AAN document pairs (the Retrieval task of the Long Range Arena): do two papers cite each other?

Each paper is stored once and a pair is two row numbers: 15 to 100 times smaller than the tables.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.batches import Batch
from data_prep.card import DatasetCard, TaskInfo
from data_prep.errors import DataError
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import locate, reading
from data_prep.transforms import Stored, Subset, Tokens, View, label

TABLES = {"train": "train", "val": "eval", "test": "test"}
SPLITS = ("documents", *TABLES)
LABELS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
EOS = 2
FIRST = 3  # the id of the first printable character
MARKER = "new_aan_pairs.train.tsv"

CARD = DatasetCard(
    name="aan",
    title="ACL Anthology pairs (Long Range Arena: Retrieval)",
    source="lra_release/tsv_data of the Long Range Arena's archive",
    licence="unclear: only the papers' ids were ever free to pass on",
    citation="Radev et al. 2013; Tay et al. 2020, arXiv:2011.04006",
    version=1,
    shapes="pairs of token sequences (vocabulary of 98, up to 4000 long); related or not",
    units="token ids: 0 pad, 1 unknown, 2 end, then the 95 printable ASCII characters in order",
    splits={"train": 147_086, "val": 18_090, "test": 17_437},
    cached_bytes=100_000_000,
    layout="Download lra_release.gz (8.2 GB, 18.6 GB unpacked) from "
    "https://storage.googleapis.com/long-range-arena (refused in 2026: look for a mirror) and put "
    "new_aan_pairs.train.tsv, .eval.tsv and .test.tsv of its tsv_data there (columns label, id1, "
    "id2, text1, text2; no header).",
    differs=(
        "the tables hold Python's notation of bytes (b'...'), which S4 and S5 read as it stands, "
        "prefix and backslashes included; so does this.",
        "S4 numbers characters by frequency, here they are in ASCII order.",
        "S4 understands quotes around a field, as this does; the Long Range Arena takes them for "
        "text, and cuts at 10,000 bytes first.",
        "ports that take the first pair for a header have one pair less in each split.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """l_max: longest document with its end token."""

    l_max: int = view_option(4000)

    def __post_init__(self) -> None:
        if self.l_max < 2:
            raise ValueError(f"need l_max >= 2, got {self.l_max}.")


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the three tables."""
    folder = locate(raw.folder, MARKER) or raw.folder
    return tuple(folder / f"new_aan_pairs.{name}.tsv" for name in TABLES.values())


def survey(raw: Raw) -> Mapping[str, Any]:
    """Number the papers in the order of their first appearance."""
    rows: dict[str, int] = {}
    for split in TABLES:
        for _, one, two, _, _ in _table(raw, split):
            rows.setdefault(one, len(rows))
            rows.setdefault(two, len(rows))
    return {"documents": len(rows), "_rows": rows}


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A document is its characters; a pair is two documents and a label."""
    if split == "documents":
        return {"text": Column("uint8", None)}
    return {"one": Column("int32"), "two": Column("int32"), "y": Column("uint8")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the papers once each, or the pairs of a table."""
    rows = raw.facts["_rows"]
    if split != "documents":
        for related, one, two, _, _ in _table(raw, split):
            yield {"one": rows[one], "two": rows[two], "y": LABELS[related]}
        return
    seen: dict[str, int] = {}
    for table in TABLES:
        for _, one, two, text_one, text_two in _table(raw, table):
            for name, text in ((one, text_one), (two, text_two)):
                if name not in seen:
                    seen[name] = hash(text)
                    yield {"text": encode(text)}
                elif seen[name] != hash(text):
                    where = sources(raw)[list(TABLES).index(table)]
                    raise DataError(f"{where}: the paper {name} comes with two texts.")


def encode(text: str) -> np.ndarray:
    """Return the ids of a text's characters; 1 for those that are not printable ASCII."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    return np.where((codes >= 32) & (codes < 127), codes - 32 + FIRST, 1).astype(np.uint8)


def _table(raw: Raw, split: str) -> Iterator[list[str]]:
    path = sources(raw)[list(TABLES).index(split)]
    csv.field_size_limit(sys.maxsize)
    with reading(path), path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.reader(file, delimiter="\t"), start=1):
            if len(row) != 5:
                raise DataError(f"{path}:{line}: {len(row)} columns, should be 5.")
            if row[0] not in LABELS:
                raise DataError(f"{path}:{line}: the label is {row[0]!r}, should be 0 or 1.")
            yield row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
    """Read pairs as 2 B documents: the first of each in rows 0 .. B - 1, the second after them."""

    documents: Part
    tokens: Tokens

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the pairs `index`."""
        rows = np.concatenate([part.gather("one", index), part.gather("two", index)])
        x, lengths = self.tokens.pad(self.documents, "text", rows)
        return Batch(x=x, y=label(part.gather("y", index)), lengths=lengths, index=index)


def view(stored: Stored) -> View:
    """Read pairs of padded documents."""
    limit = stored.options.l_max
    task = TaskInfo(
        d_input=FIRST + 95, d_output=2, length=limit, tokens=True, ragged=True, pairs=True
    )
    read = Pairs(documents=stored.part("documents"), tokens=Tokens(limit=limit, eos=EOS))
    return View(task=task, read=read, splits={name: Subset(part=name) for name in TABLES})
