"""IMDB film reviews as characters or bytes (the Text task of the Long Range Arena)."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import locate, reading, tree
from data_prep.splits import torch_split
from data_prep.transforms import Stored, Subset, Tokens, View

SPLITS = ("train", "test")
SPECIALS = ("<pad>", "<unk>", "<eos>")
UNKNOWN, EOS = 1, 2
MARKER = "train/pos"

CARD = DatasetCard(
    name="imdb",
    title="IMDB reviews, character level (Long Range Arena: Text)",
    source="ai.stanford.edu/~amaas/data/sentiment",
    licence="for research; the reviews are their authors'",
    citation="Maas et al. 2011; Tay et al. 2020, arXiv:2011.04006",
    version=1,
    shapes="tokens of a vocabulary of 135, up to 4096 long; negative or positive",
    units="token ids: 0 pad, 1 unknown, 2 end, then characters by frequency (or bytes + 3)",
    splits={"train": 22_500, "val": 2_500, "test": 25_000},
    cached_bytes=65_000_000,
    files=(
        RawFile(
            path="aclImdb_v1.tar.gz",
            urls=("http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
            size=84_125_825,
            sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
            md5="7c2ac02c03563afcf9b574c7e56c153a",
            unpack="unpacked",
        ),
    ),
    layout="Folders train/pos, train/neg, test/pos and test/neg, a .txt a review, also work.",
    differs=(
        "S4 and S5 read characters and select on the test set (val_split: 0 repeats that); the "
        "default here holds back a tenth of the training reviews instead.",
        "the Long Range Arena reads bytes (level: byte), up to 4000, or 1000 in its code.",
        "S4 drops the last, incomplete batch of the test set (8 of 25,000 reviews), S5 pads every "
        "batch to 4096; here every review counts, padded to the longest of its batch.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """level: characters or bytes; l_max: longest sequence with its end token; min_freq: rarer
    characters (in the cut training reviews) become unknown. val_split: share of the training
    reviews held back for validation, 0 takes the test set as published; seed: of that choice;
    append_eos; bucket: > 1 sorts runs of so many training batches by length."""

    level: Literal["char", "byte"] = "char"
    l_max: int = 4096
    min_freq: int = 15
    val_split: float = view_option(0.1)
    seed: int = view_option(42)
    append_eos: bool = view_option(True)
    bucket: int = view_option(0)

    def __post_init__(self) -> None:
        if not 0 <= self.val_split < 1:
            raise ValueError(f"need 0 <= val_split < 1, got {self.val_split}.")
        if self.l_max < 2:
            raise ValueError(f"need l_max >= 2, got {self.l_max}.")


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or every review of a folder brought by hand."""
    return tree(raw.folder, MARKER, pattern="*.txt")


def survey(raw: Raw) -> Mapping[str, Any]:
    """Count the characters of the training reviews: those that are frequent get an id."""
    if raw.options.level == "byte":
        return {"tokens": 256}
    counts: collections.Counter[str] = collections.Counter()
    for text, _ in _reviews(raw, "train"):
        counts.update(text[: raw.options.l_max - 1])
    kept = [c for c, n in counts.items() if n >= raw.options.min_freq]
    kept.sort(key=lambda c: (-counts[c], c))
    return {"tokens": len(kept), "vocabulary": [*SPECIALS, *kept]}


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a review's tokens, without an end token, and its label."""
    small = raw.facts["tokens"] + len(SPECIALS) <= 256 or raw.options.level == "byte"
    return {"x": Column("uint8" if small else "uint16", None), "y": Column("uint8")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the reviews, negative ones first (batches are shuffled)."""
    room = raw.options.l_max - 1
    if raw.options.level == "byte":
        for text, label in _reviews(raw, split):
            yield {"x": np.frombuffer(text.encode()[:room], np.uint8), "y": label}
        return
    ids = np.full(sys.maxunicode + 1, UNKNOWN, np.uint16)
    for number, character in enumerate(raw.facts["vocabulary"][len(SPECIALS) :], len(SPECIALS)):
        ids[ord(character)] = number
    for text, label in _reviews(raw, split):
        x = ids[np.frombuffer(text[:room].encode("utf-32-le"), np.uint32)]
        yield {"x": x, "y": label}


def _reviews(raw: Raw, split: str) -> Iterator[tuple[str, int]]:
    root = locate(raw.folder, MARKER)
    assert root is not None
    for label, name in enumerate(("neg", "pos")):
        for path in sorted((root / split / name).glob("*.txt")):
            with reading(path):
                text = path.read_text(encoding="utf-8")
            yield text, label


def view(stored: Stored) -> View:
    """Read padded tokens; validation is held back from training, or is the test set."""
    options: Options = stored.options
    task = TaskInfo(
        d_input=stored.facts["tokens"] + len(SPECIALS),
        d_output=2,
        length=options.l_max,
        tokens=True,
        ragged=True,
    )
    read = Tokens(
        limit=options.l_max,
        eos=EOS if options.append_eos else None,
        offset=len(SPECIALS) if options.level == "byte" else 0,
    )
    splits = {"train": Subset(part="train"), "val": Subset(part="test")}
    if options.val_split:
        rows = stored.splits["train"].rows
        train, val = torch_split(rows, max(1, round(rows * options.val_split)), options.seed)
        splits = {n: Subset(part="train", index=i) for n, i in (("train", train), ("val", val))}
    return View(
        task=task, read=read, splits={**splits, "test": Subset(part="test")}, bucket=options.bucket
    )
