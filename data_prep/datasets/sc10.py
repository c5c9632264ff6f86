"""Speech Commands, ten words: a view of sc35's stored clips."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.datasets import _speech_commands as shared
from data_prep.options import view as view_option
from data_prep.splits import sklearn_split
from data_prep.transforms import Stored, View

STORED_AS = "sc35"

CARD = shared.card(
    name="sc10",
    title="Speech Commands, 10 words",
    shapes="x (16000, 1) samples or (161, 20) MFCC, one of 10 words; d_input 2 when dropping",
    splits={"train": 24_482, "val": 5_246, "test": 5_247},
    cached_bytes=0,
    differs=(
        "clips that are not exactly one second long are left out: 34,975 remain.",
        "the split is scikit-learn's, stratified, 70/15/15, not the published lists, so speakers "
        "are in several parts. It depends on the order of the files, which in the published "
        "pipelines is the file system's; here it is by word and file name.",
        "published runs drop other samples of each clip: theirs come from one running generator.",
        "norm and mfcc: as for sc35.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(shared.Options):
    """dropped: percent of the samples that are taken away, with a channel that says which stay."""

    dropped: float = view_option(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropped < 100 or (self.dropped and self.mfcc):
            raise ValueError(f"need 0 <= dropped < 100, and 0 with mfcc, got {self.dropped}.")


def class_numbers() -> np.ndarray:
    """Return the class of each of the 35 words, -1 for those that are left out."""
    number = np.full(len(shared.SC35_WORDS), -1, np.int64)
    for place, word in enumerate(shared.SC10_WORDS):
        number[shared.SC35_WORDS.index(word)] = place
    return number


def split_rows(words: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows of train, val and test, given every clip's word and length."""
    labels = class_numbers()[words]
    (rows,) = np.where((labels >= 0) & (lengths == shared.SAMPLES))
    # Published rows come word by word, in the published order of the words.
    rows = rows[np.argsort(labels[rows], kind="stable")]
    labels = labels[rows]
    held_out = len(rows) - int(0.7 * len(rows))
    train, rest = sklearn_split(len(rows), held_out, 0, labels)
    val, test = sklearn_split(held_out, held_out - held_out // 2, 1, labels[rest])
    return {"train": rows[train], "val": rows[rest[val]], "test": rows[rest[test]]}


def view(stored: Stored) -> View:
    """Keep the ten words, split as published."""
    options: Options = stored.options
    known = shared.read_columns(stored.part("clips"))
    splits = split_rows(known["y"], known["length"])
    read = shared.reader(stored, splits["train"])
    task = shared.task(options, len(shared.SC10_WORDS), extra_channels=int(options.dropped > 0))
    dropping = shared.Dropping(read=read, percent=options.dropped) if options.dropped else read
    return shared.view_of(task, dropping, splits, labels=class_numbers())
