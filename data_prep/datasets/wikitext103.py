"""WikiText-103: 103 million words of Wikipedia, the next word at every step."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.batches import Batch
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import UNPACKED
from data_prep.transforms import Stored, Subset, View

EOS = 0
IGNORE = -100
FILES = {"train": "train", "val": "valid", "test": "test"}

CARD = DatasetCard(
    name="wikitext103",
    title="WikiText-103, word level",
    source="wikitext-103-v1.zip (Salesforce Research)",
    licence="CC-BY-SA-3.0",
    citation="Merity et al. 2016, arXiv:1609.07843",
    version=2,
    shapes="tokens of a vocabulary of 267,735, windows of l_max; the next token at every step",
    units="token ids: 0 is the end of a line, then words by frequency",
    splits={"train": 103_227_021, "val": 217_646, "test": 245_569},
    cached_bytes=415_000_000,
    files=(
        RawFile(
            path="wikitext-103-v1.zip",
            urls=("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",),
            md5="9ddaacaf6af0710eda8c456decff7832",
            unpack="unpacked",
        ),
    ),
    layout="Files wiki.{train,valid,test}.tokens or {train,valid,test}.txt also work.",
    differs=(
        "published batches are B parallel streams, rolled by a random shift in every epoch; here "
        "an epoch is all windows in random order, each from a zero state.",
        "the rows of its splits above are tokens.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """l_max: tokens of a window."""

    l_max: int = view_option(1024)

    def __post_init__(self) -> None:
        if self.l_max < 1:
            raise ValueError(f"need l_max >= 1, got {self.l_max}.")


def _file(raw: Raw, split: str) -> Path:
    name = FILES[split]
    names = (f"wiki.{name}.tokens", f"{name}.txt")
    found = (p for n in names for p in sorted(raw.folder.rglob(n)))
    return next(found, raw.folder / names[0])


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or the three texts."""
    note = raw.folder / "unpacked" / UNPACKED
    return (note,) if note.is_file() else tuple(_file(raw, split) for split in FILES)


def _lines(raw: Raw, split: str) -> Iterator[list[str]]:
    """Yield the words of every line, the empty ones too."""
    with _file(raw, split).open(encoding="utf-8") as file:
        for line in file:
            yield line.split()


def survey(raw: Raw) -> Mapping[str, Any]:
    """Count the words of the training text; the vocabulary has a word for each id."""
    counts: collections.Counter[str] = collections.Counter()
    for words in _lines(raw, "train"):
        counts.update(words)
    ids = {word: number for number, (word, _) in enumerate(counts.most_common(), start=1)}
    return {"words": len(ids) + 1, "vocabulary": ["\n", *ids], "_ids": ids}


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a line's words and its end."""
    return {"x": Column("uint32", None)}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the lines; words that training does not know are its own <unk>."""
    ids = raw.facts["_ids"]
    unknown = ids.get("<unk>", EOS)
    for words in _lines(raw, split):
        yield {"x": np.array([*(ids.get(w, unknown) for w in words), EOS], np.uint32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
    """Read windows of the text as one stream: x (B, length), y the next tokens, lengths."""

    length: int

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the windows `index`."""
        x = np.zeros((len(index), self.length), np.int64)
        y = np.full_like(x, IGNORE)
        lengths = np.zeros(len(index), np.int64)
        last = part.flat_size("x") - 1
        for row, window in enumerate(index.tolist()):
            start = window * self.length
            stop = min(start + self.length, last)
            tokens = part.flat("x", start, stop + 1)
            lengths[row] = stop - start
            x[row, : stop - start], y[row, : stop - start] = tokens[:-1], tokens[1:]
        return Batch(x=x, y=y, lengths=lengths, index=index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """Turn a row of tokens into text."""

    vocabulary: Sequence[str]

    def __call__(self, x: np.ndarray) -> str:
        """Decode a row."""
        return " ".join(self.vocabulary[token] for token in x.tolist())


def view(stored: Stored) -> View:
    """Read windows; only the last of a split is shorter."""
    length = stored.options.l_max
    words = stored.facts["words"]
    task = TaskInfo(
        d_input=words,
        d_output=words,
        length=length,
        tokens=True,
        target="step_class",
        ragged=True,
    )
    splits = {}
    for split in FILES:
        windows = -(-(stored.part(split).flat_size("x") - 1) // length)
        splits[split] = Subset(part=split, index=np.arange(windows))
    decode = Read(vocabulary=stored.facts["vocabulary"])
    return View(task=task, read=Windows(length=length), splits=splits, decode=decode)
