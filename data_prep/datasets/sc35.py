"""Speech Commands, all 35 words, raw at 16 kHz or as MFCC."""

from __future__ import annotations

import numpy as np

from data_prep.datasets import _speech_commands as shared
from data_prep.transforms import Stored, View

RAW = "speech_commands"
SPLITS = ("clips",)

CARD = shared.card(
    name="sc35",
    title="Speech Commands, 35 words",
    shapes="x (16000, 1) samples or (161, 20) MFCC (1.4 GB prepared), one of 35 words",
    splits={"train": 84_843, "val": 9_981, "test": 11_005},
    cached_bytes=3_389_000_000,
    differs=(
        "splits are the published list files; clips under a second are filled up with silence.",
        "S4 and S5 scale twice, so that their 'normalised' audio has a deviation of about 0.25 "
        "(norm: s4); norm: unit has 1. Their MFCC suffers from the same scaling (mfcc: s4).",
        "at half the rate S4 and S5 keep every second sample without a filter, as rate: 2 does.",
        "s4torch draws its own random split over all clips and does not normalise.",
    ),
)

Options = shared.Options
sources, columns, examples = shared.sources, shared.columns, shared.examples


def view(stored: Stored) -> View:
    """Split by the published lists."""
    fold = shared.read_columns(stored.part("clips"))["fold"]
    splits = {n: np.flatnonzero(fold == k) for k, n in enumerate(("train", "val", "test"))}
    task = shared.task(stored.options, len(shared.SC35_WORDS))
    return shared.view_of(task, shared.reader(stored, splits["train"]), splits)
