"""WikiText-103: 103 million words of Wikipedia, the next word at every step."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.batches import Batch, epoch_random
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import UNPACKED, files_below, reading
from data_prep.transforms import IGNORE, Stored, Subset, View

EOS = 0
FILES = {"train": "train", "val": "valid", "test": "test"}
SPLITS = ("vocabulary", *FILES)

CARD = DatasetCard(
    name="wikitext103",
    title="WikiText-103, word level",
    source="wikitext-103-v1.zip (Salesforce Research)",
    licence="CC-BY-SA-3.0",
    citation="Merity et al. 2016, arXiv:1609.07843",
    version=3,
    shapes="tokens of a vocabulary of 267,735, windows of l_max; the next token at every step",
    units="token ids: 0 is the end of a line, then words by frequency",
    splits={"train": 103_227_021, "val": 217_646, "test": 245_569},
    cached_bytes=434_000_000,
    files=(
        RawFile(
            path="wikitext-103-v1.zip",
            urls=("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",),
            about=190_000_000,
            sha256="242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
            md5="9ddaacaf6af0710eda8c456decff7832",
            unpack="unpacked",
        ),
    ),
    layout="Files wiki.{train,valid,test}.tokens or {train,valid,test}.txt also work.",
    differs=(
        "order: streams reads training as published, B streams side by side, each rolled by a "
        "random shift in every epoch, so that windows are cut elsewhere each time; order: windows "
        "takes the same windows in another order in every epoch. Validation and test read the text "
        "once, in windows.",
        "no state is carried from one window to the next, as in S4's published runs (n_context: 1, "
        "where S4 repeats no context either); a longer context is a larger l_max.",
        "the rows of its splits above are tokens.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """l_max: tokens of a window; order: of the training windows, see what differs."""

    l_max: int = view_option(1024)
    order: Literal["streams", "windows"] = view_option("streams")

    def __post_init__(self) -> None:
        if self.l_max < 1:
            raise ValueError(f"need l_max >= 1, got {self.l_max}.")


def _file(raw: Raw, split: str) -> Path:
    name = FILES[split]
    names = (f"wiki.{name}.tokens", f"{name}.txt")
    found = (p for n in names for p in files_below(raw.folder, n))
    return next(found, raw.folder / names[0])


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or the three texts."""
    note = raw.folder / "unpacked" / UNPACKED
    return (note,) if note.is_file() else tuple(_file(raw, split) for split in FILES)


def _lines(raw: Raw, split: str) -> Iterator[list[str]]:
    """Yield the words of every line, the empty ones too."""
    path = _file(raw, split)
    with reading(path), path.open(encoding="utf-8") as file:
        for line in file:
            yield line.split()


def survey(raw: Raw) -> Mapping[str, Any]:
    """Count the words of the training text, and number them."""
    counts: collections.Counter[str] = collections.Counter()
    for words in _lines(raw, "train"):
        counts.update(words)
    ids = {word: number for number, (word, _) in enumerate(counts.most_common(), start=1)}
    return {"words": len(ids) + 1, "_ids": ids}


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a line's words and its end; of the vocabulary, a word's UTF-8."""
    if split == "vocabulary":
        return {"word": Column("uint8", None)}
    return {"x": Column("uint32", None)}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the lines (words that training does not know are its own <unk>), or the vocabulary."""
    ids = raw.facts["_ids"]
    if split == "vocabulary":
        for word in ("\n", *ids):
            yield {"word": np.frombuffer(word.encode(), np.uint8)}
        return
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
class Streams:
    """Read the text as one stream a row of the batch, all in step.

    The text is cut into equal streams (less than one token a row is left over); a stream is rolled
    by a shift that is drawn for each epoch, and its last window may be shorter.
    Source: the ordered iterator of Transformer-XL (arXiv:1901.02860) as S4 uses it.
    """

    length: int

    def __call__(
        self,
        part: Part,
        *,
        batch_size: int,
        epoch: int,
        seed: int,
        drop_last: bool,
        rank: int,
        world: int,
    ) -> Iterator[Batch]:
        """Yield the windows of the streams of this rank: every world-th one."""
        streams = batch_size * world
        steps = part.flat_size("x") // streams
        if steps < 2:
            raise DataError(f"{part.flat_size('x')} tokens are too few for {streams} streams.")
        mine = np.arange(rank, streams, world)
        shifts = epoch_random(seed=seed, epoch=epoch).randint(steps, size=streams)[mine]
        for start in range(0, steps - 1, self.length):
            width = min(self.length, steps - 1 - start)
            if width < self.length and drop_last:
                return
            firsts = (start - shifts) % steps
            spans = [
                _rolled(part, row * steps, steps, first, width + 1)
                for row, first in zip(mine.tolist(), firsts.tolist(), strict=True)
            ]
            tokens = np.stack(spans).astype(np.int64)
            lengths = np.full(len(mine), width)
            x, y = tokens[:, :-1].copy(), tokens[:, 1:].copy()
            yield Batch(x=x, y=y, lengths=lengths, index=mine * steps + firsts)


def _rolled(part: Part, base: int, steps: int, first: int, count: int) -> np.ndarray:
    """Return `count` tokens of the stream base .. base + steps, from its place `first` on."""
    head = part.flat("x", base + first, base + min(first + count, steps))
    return np.concatenate([head, part.flat("x", base, base + count - len(head))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """Turn a row of tokens into text; of the vocabulary only the words in it are looked up."""

    vocabulary: Part

    def __call__(self, x: np.ndarray) -> str:
        """Decode a row."""
        lengths = self.vocabulary.lengths("word", x)
        longest = int(lengths.max(initial=0))
        words = self.vocabulary.gather_ragged("word", x, width=longest, limit=longest)
        cut = zip(words, lengths.tolist(), strict=True)
        return " ".join(word[:length].tobytes().decode() for word, length in cut)


def view(stored: Stored) -> View:
    """Read windows; only the last of a split, or of a stream, is shorter."""
    length = stored.options.l_max
    streams = Streams(length=length) if stored.options.order == "streams" else None
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
    decode = Read(vocabulary=stored.part("vocabulary"))
    windows = Windows(length=length)
    return View(task=task, read=windows, splits=splits, streams=streams, decode=decode)
